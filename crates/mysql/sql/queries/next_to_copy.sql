-- The next event to copy; NULL if there is none.
-- ? copied, copy_until
SELECT MIN(global_sequence)
FROM events FORCE INDEX (PRIMARY)
WHERE global_sequence > ?
  AND global_sequence <= ?
