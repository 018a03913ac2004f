-- Choose the adjacent partitions to join, the smallest of those that can be joined, and record them. A partition can be joined if appends do
-- not reach it any more and this role owns it. No row if there are not so many side by side, if events are leaving, if the log is being
-- converted, or if it is published, because subscribers would get the copies again.
-- $1 how many partitions · $2 the high-water mark
-- Returns what firefly_partitions records: the partitions end after the first sequence, and not after the second one.
WITH ranges AS (
    SELECT
        ranges.first_sequence,
        ranges.end_sequence,
        pg_table_size(ranges.partition) AS bytes,
        ranges.end_sequence <= $2::bigint + 1
            AND pg_class.relkind = 'r'
            AND pg_has_role(pg_class.relowner, 'USAGE') AS may_be_joined
    FROM firefly_ranges() AS ranges
    JOIN pg_class ON pg_class.oid = ranges.partition
), adjacent AS (
    SELECT
        first_sequence,
        end_sequence,
        MAX(end_sequence) OVER following AS join_until,
        SUM(bytes) OVER following AS bytes,
        COUNT(*) FILTER (WHERE may_be_joined) OVER following AS partitions
    FROM ranges
    WINDOW following AS (ORDER BY end_sequence NULLS LAST ROWS BETWEEN CURRENT ROW AND $1::bigint - 1 FOLLOWING)
), smallest AS (
    SELECT
        first_sequence,
        join_until
    FROM adjacent
    WHERE partitions = $1
    ORDER BY
        bytes,
        end_sequence
    LIMIT 1
)
UPDATE firefly_partitions
SET
    join_from = COALESCE(smallest.first_sequence, 0),
    join_until = smallest.join_until
FROM smallest
WHERE firefly_here()
  AND firefly_partitions.join_until IS NULL
  AND NOT EXISTS (SELECT 1 FROM firefly_leaving)
  AND NOT EXISTS (SELECT 1 FROM firefly_conversions WHERE finished_at IS NULL)
  AND NOT EXISTS (
    SELECT 1
    FROM pg_publication_tables AS published
    JOIN pg_namespace ON pg_namespace.nspname = published.schemaname
    JOIN pg_class ON pg_class.relnamespace = pg_namespace.oid AND pg_class.relname = published.tablename
    WHERE pg_class.oid = 'events'::regclass
       OR pg_class.oid IN (SELECT partition FROM firefly_ranges())
  )
RETURNING firefly_partitions.join_from, firefly_partitions.join_until;
