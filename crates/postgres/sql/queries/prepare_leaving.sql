-- Store the keys of events before these leave with their partitions. The keys count once the partitions are detached.
-- $1 global_sequence bigint[] · $2 fingerprint bytea[]: per event
-- $3 aggregate_id uuid[] · $4 aggregate_type text[] · $5 tenant_id text[] · $6 version bigint[] · $7 last_event_id uuid[]
-- $8 first_sequence bigint[] · $9 last_sequence bigint[] · $10 created_until timestamptz[]: what is archived of each stream afterwards
-- $11 the first global_sequence that leaves
WITH keys AS (
    INSERT INTO firefly_archived_events (
        global_sequence,
        event_id,
        aggregate_id,
        aggregate_version,
        fingerprint
    )
    SELECT
        live.global_sequence,
        live.event_id,
        live.aggregate_id,
        live.aggregate_version,
        leaving.fingerprint
    FROM unnest($1::bigint[], $2::bytea[]) AS leaving (global_sequence, fingerprint)
    CROSS JOIN LATERAL (
        SELECT
            global_sequence,
            event_id,
            aggregate_id,
            aggregate_version
        FROM firefly_event_keys AS keys
        WHERE keys.global_sequence = leaving.global_sequence
        LIMIT 1
    ) AS live
)
INSERT INTO firefly_archived_streams AS stream (
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
)
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
FROM unnest(
    $3::uuid[],
    $4::text[],
    $5::text[],
    $6::bigint[],
    $7::uuid[],
    $8::bigint[],
    $9::bigint[],
    $10::timestamptz[]
) AS archived (
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
)
ON CONFLICT (aggregate_id) DO UPDATE SET
    version = EXCLUDED.version,
    last_event_id = EXCLUDED.last_event_id,
    last_sequence = EXCLUDED.last_sequence,
    created_until = EXCLUDED.created_until,
    former_version = CASE WHEN stream.last_sequence < $11::bigint THEN stream.version ELSE stream.former_version END,
    former_event_id = CASE WHEN stream.last_sequence < $11 THEN stream.last_event_id ELSE stream.former_event_id END,
    former_sequence = CASE WHEN stream.last_sequence < $11 THEN stream.last_sequence ELSE stream.former_sequence END,
    former_created_until = CASE WHEN stream.last_sequence < $11 THEN stream.created_until ELSE stream.former_created_until END;
