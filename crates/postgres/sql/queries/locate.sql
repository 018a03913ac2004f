-- Where the events with these ids are.
-- $1 event ids, an array
SELECT
    event_id,
    aggregate_id,
    aggregate_type,
    tenant_id,
    aggregate_version,
    global_sequence,
    event_type,
    checksum
FROM events
WHERE event_id = ANY($1);
