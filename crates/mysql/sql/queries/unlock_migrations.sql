-- Let the next process migrate.
SELECT RELEASE_LOCK(CONCAT('firefly_', SHA2(DATABASE(), 224)))
