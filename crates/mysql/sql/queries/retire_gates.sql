-- The gates that the appends of older versions take.
DELETE FROM firefly_gate
WHERE id < 3
