-- The keys of the events with these sequences, in the log and archived. Archived ones have a fingerprint.
-- $1 global_sequence bigint[]
SELECT
    stored.global_sequence,
    stored.event_id,
    stored.aggregate_id,
    stored.aggregate_version,
    stored.fingerprint
FROM unnest($1::bigint[]) AS wanted (global_sequence)
-- One by one, so that the keys are used even if the statement was planned when there were few rows.
CROSS JOIN LATERAL (
    SELECT
        global_sequence,
        event_id,
        aggregate_id,
        aggregate_version,
        NULL::bytea AS fingerprint
    FROM events /* or their keys */ AS live
    WHERE live.global_sequence = wanted.global_sequence
    UNION ALL
    SELECT
        global_sequence,
        event_id,
        aggregate_id,
        aggregate_version,
        fingerprint
    FROM firefly_archived_events AS archived
    WHERE archived.global_sequence = wanted.global_sequence
    LIMIT 1
) AS stored
WHERE firefly_here();
