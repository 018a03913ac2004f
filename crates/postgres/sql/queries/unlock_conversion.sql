-- Release the lock for converting the store.
SELECT pg_advisory_unlock(hashtext('firefly_eventstore_conversion'), relnamespace::integer)
FROM pg_class
WHERE oid = 'events'::regclass;
