-- What of the streams of some aggregates is archived: a list of ids is added to this.
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
FROM firefly_archived_streams FORCE INDEX (PRIMARY)
WHERE aggregate_id IN
