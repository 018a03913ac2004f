-- Remove the gates that appends of older versions took.
DELETE FROM firefly_gate
WHERE id < 3
