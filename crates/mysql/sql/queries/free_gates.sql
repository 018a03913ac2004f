-- The gates that no append holds at this moment. Waits for nobody, and holds them no longer than the statement takes.
SELECT id
FROM firefly_gate
FOR UPDATE SKIP LOCKED
