-- Set how many sequences new partitions have.
-- $1 events_per_range
INSERT INTO firefly_partitions (id, events_per_range)
VALUES (1, $1)
ON CONFLICT (id) DO UPDATE SET events_per_range = excluded.events_per_range;
