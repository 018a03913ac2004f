-- Release the lock on migrations.
SELECT RELEASE_LOCK(CONCAT('firefly_', SHA2(DATABASE(), 224)))
