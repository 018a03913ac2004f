-- Release the lock for converting the log.
SELECT RELEASE_LOCK(CONCAT('convert_', SHA2(DATABASE(), 224)))
