-- One of the events between two that are leaving with their partition; no row if they have left.
-- ? first global_sequence · ? last
SELECT global_sequence
FROM events
WHERE global_sequence BETWEEN ? AND ?
LIMIT 1
