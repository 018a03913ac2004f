-- The source document's second monitoring query: how frequent each type of event is.
-- ? ? tenant_id, or NULL for everything
SELECT
    event_type,
    COUNT(*) AS event_count
FROM events
WHERE ? IS NULL OR tenant_id = ?
GROUP BY event_type
ORDER BY event_count DESC, event_type
