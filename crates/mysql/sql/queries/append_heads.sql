(
    SELECT are_as_expected
    FROM (
        SELECT IF(COUNT(*) = ?, 0, NULL) AS are_as_expected
        FROM events FORCE INDEX (idx_events_aggregate_version)
        WHERE {heads}
        /*!80000 FOR SHARE NOWAIT *//*M!100600 LOCK IN SHARE MODE NOWAIT */
    ) AS heads
)
