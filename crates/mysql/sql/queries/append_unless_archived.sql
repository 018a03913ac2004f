CASE {gate}
    WHEN 0 THEN 0
    WHEN 1 THEN (
        SELECT IF(COUNT(*) = 0, 0, NULL)
        FROM firefly_archived_events FORCE INDEX (idx_archived_events_event_id)
        WHERE event_id IN {list}
        LOCK IN SHARE MODE
    ) + (
        SELECT IF(COUNT(*) = 0, 0, NULL)
        FROM firefly_archived_streams FORCE INDEX (PRIMARY)
        WHERE {streams}
        LOCK IN SHARE MODE
    )
END
