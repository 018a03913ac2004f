-- How many partitions the log has; which ones are being joined: those that end after the first sequence, and not after the second one, NULL
-- if none are; and whether tables are left that were partitions.
SELECT
    (SELECT COUNT(*) FROM pg_inherits WHERE inhparent = 'events'::regclass) AS partitions,
    join_from,
    join_until,
    EXISTS (
        SELECT 1
        FROM pg_class
        WHERE relname ~ '^firefly_left_[0-9]+$'
          AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'events'::regclass)
    ) AS has_left
FROM firefly_partitions
WHERE firefly_here();
