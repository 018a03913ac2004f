-- Wait until no other process migrates this database; the lock goes with the connection, or earlier by unlock_migrations.sql.
-- ? most seconds to wait
SELECT GET_LOCK(CONCAT('firefly_', SHA2(DATABASE(), 224)), ?)
