-- The tables that were partitions, and are to be dropped.
SELECT oid::regclass::text
FROM pg_class
WHERE firefly_here()
  AND relname ~ '^firefly_left_[0-9]+$'
  AND relkind = 'r'
  AND NOT relispartition
  AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'events'::regclass);
