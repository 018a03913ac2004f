-- Store the keys of some events that were written before the table of keys existed. Do not run while events are moved out of the log or
-- back.
-- Returns the last sequence whose key is stored.
-- $1 after bigint · $2 until bigint · $3 most rows bigint
WITH found AS MATERIALIZED (
    SELECT
        event_id,
        aggregate_id,
        aggregate_version,
        global_sequence,
        aggregate_type,
        tenant_id
    FROM events
    WHERE global_sequence > $1
      AND global_sequence <= $2
    ORDER BY global_sequence
    LIMIT $3
), kept AS (
    INSERT INTO firefly_event_keys (event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id)
    SELECT
        event_id,
        aggregate_id,
        aggregate_version,
        global_sequence,
        aggregate_type,
        tenant_id
    FROM found
    -- A trigger wrote the key already if an archived event was attached.
    ON CONFLICT DO NOTHING
)
SELECT CASE WHEN COUNT(*) < $3 THEN $2 ELSE MAX(global_sequence) END
FROM found;
