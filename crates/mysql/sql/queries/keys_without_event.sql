-- The keys of an event that is not there, if there are any.
SELECT firefly_event_keys.global_sequence
FROM firefly_event_keys
LEFT JOIN events ON events.global_sequence = firefly_event_keys.global_sequence
WHERE events.global_sequence IS NULL
LIMIT 1
