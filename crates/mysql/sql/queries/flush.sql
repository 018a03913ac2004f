-- Make the server flush its redo log. When this is committed, every earlier commit is on the disk.
UPDATE firefly_flush
SET times = times + 1
WHERE id = 1
