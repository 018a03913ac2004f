-- As locate.sql, in a partitioned log: its ids are in the table of keys. Of the keys more is read than their index has. Otherwise the servers
-- would read the whole index for a long list of ids. An archived event that is leaving with its partition is in the log until then.
(
    SELECT
        located.event_id,
        located.aggregate_id,
        located.aggregate_type,
        located.tenant_id,
        located.aggregate_version,
        located.global_sequence,
        events.event_type,
        events.checksum,
        events.metadata,
        events.created_at,
        events.created_by,
        events.correlation_id,
        events.causation_id
    FROM firefly_event_keys AS located FORCE INDEX (idx_events_event_id)
    STRAIGHT_JOIN events FORCE INDEX (PRIMARY) ON events.global_sequence = located.global_sequence
    WHERE located.event_id IN {list}
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
      AND NOT EXISTS (SELECT 1 FROM events AS staying WHERE staying.global_sequence = event.global_sequence)
    {locking}
)
