-- Which of some gates no append holds at this moment. Waits for nobody, and holds them no longer than the statement takes.
SELECT id
FROM firefly_gate FORCE INDEX (PRIMARY)
WHERE id IN {list}
FOR UPDATE SKIP LOCKED
