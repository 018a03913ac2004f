-- How many events there are in a range, which, and the last of them: once with what is not committed yet, and once without.
-- {after} · {until}, which are numbers
SELECT
    COUNT(*),
    COALESCE(SUM(global_sequence), 0),
    COALESCE(MAX(global_sequence), 0)
FROM events FORCE INDEX (PRIMARY)
WHERE global_sequence > {after}
  AND global_sequence <= {until}
