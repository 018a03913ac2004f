-- The owners of aggregates with archived events, and their last archived versions. The program adds a list of ids.
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version
FROM firefly_archived_streams FORCE INDEX (PRIMARY)
WHERE aggregate_id IN
