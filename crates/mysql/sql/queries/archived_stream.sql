-- The archived parts of some aggregates' streams, as they are stored, for the program that moves events. The program adds a list of ids.
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
