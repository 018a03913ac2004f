-- Whether an archive table has doubled since its last ANALYZE; one row if so.
SELECT 1
WHERE firefly_here()
  AND EXISTS (
    SELECT 1
    FROM pg_class
    WHERE oid IN ('firefly_archived_events'::regclass, 'firefly_archived_streams'::regclass)
      AND pg_relation_size(oid) / current_setting('block_size')::bigint >= 2 * GREATEST(relpages, 1)
  );
