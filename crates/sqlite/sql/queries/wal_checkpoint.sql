-- Bring the write-ahead log into the file, and empty it. Returns 1 first if somebody who reads was in the way.
PRAGMA wal_checkpoint(TRUNCATE);
