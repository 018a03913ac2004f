-- Release the lock on migrations.
-- $1 schema, or NULL for the one that the server chooses
SELECT pg_advisory_unlock(hashtext('firefly_eventstore_migrations'), hashtext(COALESCE($1, current_schema(), '')));
