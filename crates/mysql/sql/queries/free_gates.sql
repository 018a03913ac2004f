-- Of some gates, those that no append holds now. Does not wait, and holds the gates only during the statement.
SELECT id
FROM firefly_gate FORCE INDEX (PRIMARY)
WHERE id IN {list}
FOR UPDATE SKIP LOCKED
