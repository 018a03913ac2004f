-- Where the events with these ids are: those in the log, and those that are archived, which have a fingerprint where the others have their type,
-- and no time. The ids, and how the rows are locked, are added to this.
(
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
    WHERE event_id IN {list}
    {locking}
)
UNION ALL
(
    SELECT
        event.event_id,
        event.aggregate_id,
        stream.aggregate_type,
        stream.tenant_id,
        event.aggregate_version,
        event.global_sequence,
        event.fingerprint,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL
    FROM firefly_archived_events AS event FORCE INDEX (idx_archived_events_event_id)
    STRAIGHT_JOIN firefly_archived_streams AS stream FORCE INDEX (PRIMARY) ON stream.aggregate_id = event.aggregate_id
    WHERE event.event_id IN {list}
    {locking}
)
