-- Take the lock for converting the store. False if another connection has it. The lock ends with the connection.
SELECT pg_try_advisory_lock(hashtext('firefly_eventstore_conversion'), relnamespace::integer)
FROM pg_class
WHERE firefly_here()
  AND oid = 'events'::regclass;
