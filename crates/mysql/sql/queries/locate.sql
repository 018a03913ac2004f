-- Where the events with these ids are: a list of ids is added to this.
SELECT
    event_id,
    aggregate_id,
    aggregate_type,
    tenant_id,
    aggregate_version,
    global_sequence,
    event_type,
    checksum,
    metadata,
    created_at,
    created_by,
    correlation_id,
    causation_id
FROM events FORCE INDEX (idx_events_event_id)
WHERE event_id IN
