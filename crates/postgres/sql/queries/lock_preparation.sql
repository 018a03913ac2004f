-- Let nobody delete events, or move them out of the log or back, until this transaction ends: a conversion prepares some. Appends go on.
SET LOCAL lock_timeout = '5s';
LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE;
SET LOCAL lock_timeout = '50ms';
SELECT pg_advisory_xact_lock(hashtext('firefly_eventstore_preparation'), 'events'::regclass::oid::integer);
