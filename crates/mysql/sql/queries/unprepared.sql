-- An event of a partition whose key is not archived, if there is one. The program names the partition.
SELECT events.global_sequence
FROM events PARTITION ({partition})
LEFT JOIN firefly_archived_events AS ahead FORCE INDEX (PRIMARY) ON ahead.global_sequence = events.global_sequence
WHERE ahead.event_id IS NULL
   OR ahead.event_id <> events.event_id
LIMIT 1
