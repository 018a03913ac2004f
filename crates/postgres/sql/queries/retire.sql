-- Move events out of the log, and keep their keys. Run only while no other transaction writes events.
-- $1 global_sequence bigint[] · $2 fingerprint bytea[]: per event
-- $3 aggregate_id uuid[] · $4 aggregate_type text[] · $5 tenant_id text[] · $6 version bigint[] · $7 last_event_id uuid[]
-- $8 first_sequence bigint[] · $9 last_sequence bigint[] · $10 created_until timestamptz[]: what is archived of each stream afterwards
-- Returns how many were moved.
WITH retired AS (
    DELETE FROM events
    WHERE global_sequence = ANY($1::bigint[])
    RETURNING
        global_sequence,
        event_id,
        aggregate_id,
        aggregate_version
), keys AS (
    INSERT INTO firefly_archived_events (
        global_sequence,
        event_id,
        aggregate_id,
        aggregate_version,
        fingerprint
    )
    SELECT
        retired.global_sequence,
        retired.event_id,
        retired.aggregate_id,
        retired.aggregate_version,
        moved.fingerprint
    FROM retired
    JOIN unnest($1::bigint[], $2::bytea[]) AS moved (global_sequence, fingerprint)
        ON moved.global_sequence = retired.global_sequence
), streams AS (
    INSERT INTO firefly_archived_streams (
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
        created_until = EXCLUDED.created_until
)
SELECT COUNT(*)
FROM retired;
