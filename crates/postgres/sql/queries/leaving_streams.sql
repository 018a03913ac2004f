-- What is archived of these aggregates' streams, including the events that prepare_leaving.sql has stored; no row for an aggregate without
-- any.
-- $1 aggregate_id uuid[]
SELECT
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
FROM firefly_archived_streams
WHERE firefly_here()
  AND aggregate_id = ANY($1::uuid[]);
