-- Copy the write-ahead log into the file, and empty it. The first column is 1 if a reader prevented that.
PRAGMA wal_checkpoint(TRUNCATE);
