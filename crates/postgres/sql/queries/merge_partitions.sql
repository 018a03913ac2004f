-- Merge empty partitions that follow each other; see firefly_merge_empty_partitions.
SELECT firefly_merge_empty_partitions();
