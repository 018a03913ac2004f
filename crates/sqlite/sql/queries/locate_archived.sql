-- The positions of the archived events with these ids.
-- ?1 event ids, a JSON array
SELECT
    event.event_id,
    event.aggregate_id,
    stream.aggregate_type,
    stream.tenant_id,
    event.aggregate_version,
    event.global_sequence,
    event.fingerprint
FROM main.firefly_archived_events AS event
JOIN main.firefly_archived_streams AS stream ON stream.aggregate_id = event.aggregate_id
WHERE event.event_id IN (SELECT value FROM json_each(?1));
