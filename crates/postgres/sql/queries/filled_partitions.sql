-- The partitions that have rows, or had some. An empty one is better not analyzed: while nothing is known of it, a statement that is planned
-- looks its events up by an index.
SELECT inhrelid::regclass::text
FROM pg_inherits
WHERE firefly_here()
  AND inhparent = 'events'::regclass
  AND pg_relation_size(inhrelid) > 0
ORDER BY inhrelid;
