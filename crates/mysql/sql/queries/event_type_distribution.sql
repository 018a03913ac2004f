-- The source document's second monitoring query: the number of events of each type.
-- ? ? tenant_id, or NULL for everything
SELECT
    event_type,
    COUNT(*) AS event_count
FROM events
WHERE ? IS NULL OR tenant_id = ?
GROUP BY event_type
ORDER BY event_count DESC, event_type
