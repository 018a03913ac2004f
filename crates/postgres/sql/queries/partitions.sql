-- The partitions of the log: how many sequences a new one gets; how many there are; how many before the end of the log are empty and follow
-- an empty one; the name, first sequence and size of the last one; the bound that it was about to get; and the last allocated sequence.
SELECT
    firefly_partitions.events_per_range,
    ranges.partitions,
    ranges.mergeable,
    last.partition::text,
    last.first_sequence,
    pg_relation_size(last.partition) AS bytes,
    (regexp_match(pg_get_constraintdef(bound.oid), '< ''?([0-9]+)'))[1]::bigint AS bound,
    firefly_last_allocated('events_global_sequence_seq') AS allocated
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
LEFT JOIN pg_constraint AS bound ON bound.conrelid = last.partition AND bound.conname = 'firefly_bound'
WHERE firefly_here();
