-- Append one event to an aggregate that is at exactly version $5. That the version after it is free is the unique key's to say,
-- so one row is looked up; for a new aggregate, only whether it is archived.
-- $1 event_id · $2 aggregate_id · $3 aggregate_type · $4 tenant_id · $5 the version
-- $6 event_type · $7 event_data · $8 metadata · $9 created_at or NULL for now · $10 created_by · $11 correlation_id
-- $12 causation_id · $13 checksum
-- Returns the row; none means the aggregate is elsewhere, or somebody else's, or the event is archived. A unique violation means that a
-- concurrent append won, or that the event id is in the log already.
INSERT INTO events (
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    checksum
)
SELECT
    $1::uuid,
    $2::uuid,
    $3::text,
    $5::bigint + 1,
    $6::text,
    $7::text::jsonb,
    $8::text::jsonb,
    COALESCE($9::timestamptz, statement_timestamp()),
    $10::text,
    $4::text,
    $11::text,
    $12::text,
    $13::text
WHERE COALESCE(
    -- Selected, not filtered by: planned when there were few rows, the index on aggregate types would serve as well.
    (
        SELECT aggregate_type = $3::text AND tenant_id IS NOT DISTINCT FROM $4::text
        FROM events /* or their keys */
        WHERE $5 > 0
          AND aggregate_id = $2
          AND aggregate_version = $5
    ),
    -- Looked at only where the log does not have that version.
    (
        SELECT version = $5 AND aggregate_type = $3::text AND tenant_id IS NOT DISTINCT FROM $4::text
        FROM firefly_archived_streams
        WHERE aggregate_id = $2
    ),
    $5 = 0
)
  -- Not where the sequence is behind the log, and would give out what readers have passed.
  AND (SELECT COALESCE(MAX(global_sequence), 0) FROM events /* or their keys */)
      <= (SELECT COALESCE(pg_sequence_last_value('events_global_sequence_seq'), 0))
  -- Not where the event is archived.
  AND NOT EXISTS (SELECT 1 FROM firefly_archived_events WHERE event_id = $1)
RETURNING global_sequence, aggregate_version;
