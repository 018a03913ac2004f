-- Who an aggregate belongs to, and the version it is at; no row for one without events.
-- ? aggregate_id
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    aggregate_version
FROM events /* or their keys */ FORCE INDEX (idx_events_aggregate_version)
WHERE aggregate_id = ?
ORDER BY aggregate_version DESC
LIMIT 1
