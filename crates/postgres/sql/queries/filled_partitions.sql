-- The partitions that have or had rows. Do not analyze an empty one: without statistics, the planner uses an index.
SELECT inhrelid::regclass::text
FROM pg_inherits
WHERE firefly_here()
  AND inhparent = 'events'::regclass
  AND pg_relation_size(inhrelid) > 0
ORDER BY inhrelid;
