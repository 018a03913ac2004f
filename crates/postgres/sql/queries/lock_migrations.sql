-- Wait until no other process migrates this schema. The lock ends with the connection, or with unlock_migrations.sql.
-- $1 schema, or NULL for the one that the server chooses
SELECT pg_advisory_lock(hashtext('firefly_eventstore_migrations'), hashtext(COALESCE($1, current_schema(), '')));
