-- Release the lock for letting events leave with their partitions.
SELECT RELEASE_LOCK(CONCAT('leaving_', SHA2(DATABASE(), 224)))
