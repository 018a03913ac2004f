-- Set what later partitions have. Changes no row if that is chosen already.
-- $1 events_per_range bigint, or NULL · $2 aggregate_types text[], or NULL. If both are NULL, each month gets a partition.
INSERT INTO firefly_partitions (id, events_per_range, aggregate_types)
VALUES (1, $1, $2)
ON CONFLICT (id) DO UPDATE SET
    events_per_range = excluded.events_per_range,
    aggregate_types = excluded.aggregate_types
WHERE (firefly_partitions.events_per_range, firefly_partitions.aggregate_types)
    IS DISTINCT FROM (excluded.events_per_range, excluded.aggregate_types);
