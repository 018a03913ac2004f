-- The partitions that lack the index on streams, each with the name of its index.
SELECT
    ranges.partition::text,
    quote_ident(tables.relname || '_stream')
FROM firefly_ranges() AS ranges
JOIN pg_class AS tables ON tables.oid = ranges.partition
WHERE firefly_here()
  AND NOT EXISTS (
    SELECT 1
    FROM pg_index
    JOIN pg_inherits ON pg_inherits.inhrelid = pg_index.indexrelid
    WHERE pg_index.indrelid = ranges.partition
      AND pg_inherits.inhparent = to_regclass('idx_events_stream')
  );
