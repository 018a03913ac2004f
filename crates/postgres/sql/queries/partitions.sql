-- The partitions of the log: how many sequences a new one gets, or NULL; how many tables there are; how many partitions before the end of the
-- log are empty and follow an empty one; the name of the last one, its first sequence, NULL if it is the only one, and its size; the bound
-- that it was about to get; the last allocated sequence; since when the last one has had events, NULL if it has none; the time now; the
-- aggregate types that have tables of their own within a new one, or NULL; and those within the last one, NULL if it is one table. If a new
-- one gets neither sequences nor types, each month gets one.
SELECT
    firefly_partitions.events_per_range,
    ranges.tables,
    ranges.mergeable,
    last.partition::text,
    last.first_sequence,
    (SELECT SUM(pg_relation_size(relid))::bigint FROM pg_partition_tree(last.partition) WHERE isleaf) AS bytes,
    (regexp_match(pg_get_constraintdef(bound.oid), '< ''?([0-9]+)'))[1]::bigint AS bound,
    firefly_last_allocated('events_global_sequence_seq') AS allocated,
    -- An event that was imported or restored may have any time.
    CASE
        WHEN oldest.created_at BETWEEN firefly_partitions.begun_at AND clock_timestamp() THEN oldest.created_at
        WHEN oldest.created_at IS NOT NULL THEN firefly_partitions.begun_at
    END AS filled_since,
    clock_timestamp() AS now,
    firefly_partitions.aggregate_types,
    (
        SELECT array_agg(replace(found.bound[1], '''''', ''''))
        FROM pg_inherits
        JOIN pg_class AS parts ON parts.oid = pg_inherits.inhrelid
        CROSS JOIN LATERAL regexp_match(pg_get_expr(parts.relpartbound, parts.oid), '^FOR VALUES IN \(''(.*)''\)$') AS found (bound)
        WHERE pg_inherits.inhparent = last.partition
          AND found.bound IS NOT NULL
    ) AS last_types
FROM firefly_partitions
CROSS JOIN (
    SELECT
        SUM(tables)::bigint AS tables,
        COUNT(*) FILTER (WHERE is_empty AND follows_an_empty_one) AS mergeable
    FROM (
        SELECT
            tables,
            is_empty,
            LAG(is_empty) OVER (ORDER BY end_sequence NULLS LAST) AS follows_an_empty_one
        FROM (
            SELECT
                ranges.end_sequence,
                COUNT(*) AS tables,
                SUM(pg_relation_size(parts.relid)) = 0
                    AND ranges.end_sequence <= firefly_last_allocated('events_global_sequence_seq') AS is_empty
            FROM firefly_ranges() AS ranges
            CROSS JOIN LATERAL pg_partition_tree(ranges.partition) AS parts
            WHERE parts.isleaf
            GROUP BY ranges.end_sequence
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
WHERE firefly_here()
  AND firefly_partitions.id = 1;
