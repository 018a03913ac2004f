-- The first and the last event of a partition, NULL if it has none. The program names the partition.
SELECT
    MIN(global_sequence),
    MAX(global_sequence)
FROM events PARTITION ({partition})
