-- The partitions of the log: how many sequences a new one gets, NULL if each month gets one; how many there are; how many before the end of
-- the log are empty and follow an empty one; the name of the last one, its first sequence, NULL if it is the only one, and its size; the bound
-- that it was about to get; the last allocated sequence; since when the last one has had events, NULL if it has none; and the time now.
SELECT
    firefly_partitions.events_per_range,
    ranges.partitions,
    ranges.mergeable,
    last.partition::text,
    last.first_sequence,
    pg_relation_size(last.partition) AS bytes,
    (regexp_match(pg_get_constraintdef(bound.oid), '< ''?([0-9]+)'))[1]::bigint AS bound,
    firefly_last_allocated('events_global_sequence_seq') AS allocated,
    -- An event that was imported or restored may have any time.
    CASE
        WHEN oldest.created_at BETWEEN firefly_partitions.begun_at AND clock_timestamp() THEN oldest.created_at
        WHEN oldest.created_at IS NOT NULL THEN firefly_partitions.begun_at
    END AS filled_since,
    clock_timestamp() AS now
FROM firefly_partitions
CROSS JOIN (
    SELECT
        COUNT(*) AS partitions,
        COUNT(*) FILTER (WHERE is_empty AND follows_an_empty_one) AS mergeable
    FROM (
        SELECT
            is_empty,
            LAG(is_empty) OVER (ORDER BY end_sequence NULLS LAST) AS follows_an_empty_one
        FROM (
            SELECT
                end_sequence,
                pg_relation_size(partition) = 0
                    AND end_sequence <= firefly_last_allocated('events_global_sequence_seq') AS is_empty
            FROM firefly_ranges()
        ) AS sized
    ) AS following
) AS ranges
JOIN firefly_ranges() AS last ON last.end_sequence IS NULL
LEFT JOIN LATERAL (
    SELECT events.created_at
    FROM events /* by their keys */ AS events
    WHERE events.global_sequence >= COALESCE(last.first_sequence, '-9223372036854775808')
    ORDER BY events.global_sequence ASC
    LIMIT 1
) AS oldest ON true
LEFT JOIN pg_constraint AS bound ON bound.conrelid = last.partition AND bound.conname = 'firefly_bound'
WHERE firefly_here();
