-- Have the server flush its redo log: what was committed before this is on the disk once this is committed.
UPDATE firefly_flush
SET times = times + 1
WHERE id = 1
