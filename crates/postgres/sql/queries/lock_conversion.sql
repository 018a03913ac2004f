-- Whether this connection alone converts the store from here on; the lock goes with the connection.
SELECT pg_try_advisory_lock(hashtext('firefly_eventstore_conversion'), relnamespace::integer)
FROM pg_class
WHERE firefly_here()
  AND oid = 'events'::regclass;
