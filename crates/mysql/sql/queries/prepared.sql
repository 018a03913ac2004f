-- The number of events in a range, the sum of their sequences, and the last one. Run once with uncommitted events, and once without.
-- {after} · {until}, which are numbers
SELECT
    COUNT(*),
    COALESCE(SUM(global_sequence), 0),
    COALESCE(MAX(global_sequence), 0)
FROM events FORCE INDEX (PRIMARY)
WHERE global_sequence > {after}
  AND global_sequence <= {until}
