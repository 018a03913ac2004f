-- The partitions that have or had rows. Do not analyze an empty one: without statistics, the planner uses an index.
SELECT tables.relid::text
FROM firefly_ranges() AS ranges
CROSS JOIN LATERAL pg_partition_tree(ranges.partition) AS tables
WHERE firefly_here()
  AND tables.isleaf
  AND pg_relation_size(tables.relid) > 0
ORDER BY tables.relid::oid;
