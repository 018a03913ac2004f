-- The owner of an aggregate, and its version.
-- ?1 aggregate_id
SELECT
    aggregate_type,
    tenant_id,
    aggregate_version
FROM main.events
WHERE aggregate_id = ?1
ORDER BY aggregate_version DESC
LIMIT 1;
