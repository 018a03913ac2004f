-- Let the events of an archive leave with their partitions, where a partition has no other events. No row if there is no such partition, if
-- this role cannot detach it, or if some of the events are archived already: then they leave one by one. No row while a conversion is
-- unfinished either: its triggers keep a copy of the log, and detaching fires none.
-- $1 digest text · $2 first global_sequence of the archive · $3 last · $4 the high-water mark
WITH ranges AS (
    SELECT
        ranges.end_sequence,
        ends.first_event,
        ends.last_event,
        pg_class.relkind = 'r' AND pg_has_role(pg_class.relowner, 'USAGE') AS may_be_detached
    FROM firefly_ranges() AS ranges
    JOIN pg_class ON pg_class.oid = ranges.partition
    CROSS JOIN LATERAL (
        SELECT
            MIN(global_sequence) AS first_event,
            MAX(global_sequence) AS last_event
        FROM firefly_event_keys
        WHERE global_sequence >= COALESCE(ranges.first_sequence, 0)
          AND global_sequence < ranges.end_sequence
    ) AS ends
    WHERE ranges.end_sequence <= $4::bigint + 1
), whole AS (
    SELECT
        MIN(first_event) AS first_event,
        MAX(last_event) AS last_event,
        MAX(end_sequence) AS end_sequence
    FROM ranges
    WHERE first_event >= $2::bigint
      AND last_event <= $3::bigint
      AND may_be_detached
)
INSERT INTO firefly_leaving (id, digest, first_sequence, last_sequence, end_sequence)
SELECT
    1,
    $1::text,
    whole.first_event,
    whole.last_event,
    whole.end_sequence
FROM whole
WHERE firefly_here()
  AND whole.first_event IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM firefly_conversions WHERE finished_at IS NULL)
  AND NOT EXISTS (
    SELECT 1
    FROM ranges
    WHERE NOT ranges.may_be_detached
      AND ranges.end_sequence > whole.first_event
      AND ranges.end_sequence <= whole.end_sequence
  )
  AND NOT EXISTS (
    SELECT 1
    FROM firefly_archived_events AS archived
    WHERE archived.global_sequence BETWEEN whole.first_event AND whole.last_event
  );
