-- The keys of the events with these sequences in the log, each with the fingerprint that prepare_leaving.sql has stored for it, or NULL.
-- $1 global_sequence bigint[]
SELECT
    live.global_sequence,
    live.event_id,
    live.aggregate_id,
    live.aggregate_version,
    ahead.fingerprint
FROM unnest($1::bigint[]) AS wanted (global_sequence)
CROSS JOIN LATERAL (
    SELECT
        global_sequence,
        event_id,
        aggregate_id,
        aggregate_version
    FROM firefly_event_keys AS keys
    WHERE keys.global_sequence = wanted.global_sequence
    LIMIT 1
) AS live
LEFT JOIN LATERAL (
    SELECT fingerprint
    FROM firefly_archived_events AS archived
    WHERE archived.global_sequence = live.global_sequence
      AND archived.event_id = live.event_id
      AND archived.aggregate_id = live.aggregate_id
      AND archived.aggregate_version = live.aggregate_version
    LIMIT 1
) AS ahead ON true
WHERE firefly_here();
