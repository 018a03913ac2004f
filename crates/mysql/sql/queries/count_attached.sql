-- Count that events came back into the log, for readers.
UPDATE firefly_moves
SET attached = attached + 1
WHERE id = 1
