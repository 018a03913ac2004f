-- Wait until no other process migrates this database. The lock ends with the connection, or with unlock_migrations.sql.
-- ? most seconds to wait
SELECT GET_LOCK(CONCAT('firefly_', SHA2(DATABASE(), 224)), ?)
