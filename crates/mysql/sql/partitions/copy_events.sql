-- Copy events into the next table. They are locked until the transaction ends, so that nobody changes an event between its reading and its
-- copying. An event that was inserted meanwhile may have been copied by the trigger.
INSERT INTO firefly_next_events ({columns})
SELECT {columns}
FROM events FORCE INDEX (PRIMARY)
WHERE global_sequence BETWEEN {first} AND {last}
ORDER BY global_sequence
LOCK IN SHARE MODE
ON DUPLICATE KEY UPDATE global_sequence = firefly_next_events.global_sequence
