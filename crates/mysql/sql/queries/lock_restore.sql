-- Take the lock for restoring, unless another process restores in this database. It ends with the connection, or with unlock_restore.sql.
SELECT GET_LOCK(CONCAT('restore_', SHA2(DATABASE(), 224)), 0)
