-- Tell readers that events came back into the log.
UPDATE firefly_moves
SET attached = attached + 1
WHERE id = 1
