-- Set how many sequences new partitions have. Changes no row if they have as many already.
-- $1 events_per_range bigint, or NULL if each month gets a partition
INSERT INTO firefly_partitions (id, events_per_range)
VALUES (1, $1)
ON CONFLICT (id) DO UPDATE SET events_per_range = excluded.events_per_range
WHERE firefly_partitions.events_per_range IS DISTINCT FROM excluded.events_per_range;
