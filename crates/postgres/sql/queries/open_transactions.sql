-- Of these transactions, those that are still open.
-- $1 virtual transaction ids text[]
SELECT virtualtransaction
FROM pg_locks
WHERE locktype = 'virtualxid'
  AND virtualxid = virtualtransaction
  AND virtualtransaction = ANY($1::text[]);
