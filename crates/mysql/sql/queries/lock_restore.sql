-- Take the right to restore, unless another process restores in this database now; the lock goes with the connection, or earlier by
-- unlock_restore.sql.
SELECT GET_LOCK(CONCAT('restore_', SHA2(DATABASE(), 224)), 0)
