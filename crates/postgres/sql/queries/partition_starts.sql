-- The first sequences of the partitions of the log, in their order, without that of the first one, which has no lower bound. No row if the log is
-- one table.
SELECT found.bound[1]::bigint
FROM pg_inherits
JOIN pg_class AS partition ON partition.oid = pg_inherits.inhrelid
CROSS JOIN LATERAL regexp_match(pg_get_expr(partition.relpartbound, partition.oid), '^FOR VALUES FROM \(''?([0-9]+)') AS found (bound)
WHERE firefly_here()
  AND pg_inherits.inhparent = 'events'::regclass
  AND found.bound IS NOT NULL
ORDER BY 1;
