-- Block deletes of events, and moves out of the log or back, until this transaction ends, because a conversion prepares some events.
-- Appends continue.
SET LOCAL lock_timeout = '5s';
LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE;
SET LOCAL lock_timeout = '50ms';
SELECT pg_advisory_xact_lock(hashtext('firefly_eventstore_preparation'), 'events'::regclass::oid::integer);
