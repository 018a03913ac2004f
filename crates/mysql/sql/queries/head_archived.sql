-- Who aggregates belong to whose events are archived, all or the first of them, and the last version that is: a list of ids is added to this.
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version
FROM firefly_archived_streams FORCE INDEX (PRIMARY)
WHERE aggregate_id IN
