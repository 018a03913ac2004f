-- Those of these transactions that are open.
-- $1 virtual transaction ids text[]
SELECT virtualtransaction
FROM pg_locks
WHERE locktype = 'virtualxid'
  AND virtualxid = virtualtransaction
  AND virtualtransaction = ANY($1::text[]);
