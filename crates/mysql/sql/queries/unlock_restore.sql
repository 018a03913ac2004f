-- Release the lock on restoring.
SELECT RELEASE_LOCK(CONCAT('restore_', SHA2(DATABASE(), 224)))
