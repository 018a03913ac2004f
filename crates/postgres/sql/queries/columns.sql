-- The columns of events that are stored as they are given.
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
FROM pg_attribute
WHERE firefly_here()
  AND attrelid = 'events'::regclass
  AND attnum > 0
  AND NOT attisdropped
  AND attgenerated = '';
