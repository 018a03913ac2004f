-- Take the right to move events out of the log, or back, until the transaction ends; fails at once if somebody else has it.
SELECT id
FROM firefly_moves
WHERE id = 1
FOR UPDATE NOWAIT
