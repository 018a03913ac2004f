-- Copy the write-ahead log into the file, as far as no reader needs the file as it is. Nobody waits.
PRAGMA wal_checkpoint(PASSIVE);
