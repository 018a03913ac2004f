-- Take the lock for moving events out of the log, or back, until the transaction ends. Fails at once if another transaction has it.
SELECT id
FROM firefly_moves
WHERE id = 1
FOR UPDATE NOWAIT
