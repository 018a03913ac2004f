-- An event whose keys are missing or are not its own, if there is one.
SELECT events.global_sequence
FROM events
LEFT JOIN firefly_event_keys AS of_event ON of_event.global_sequence = events.global_sequence
WHERE of_event.global_sequence IS NULL
   OR of_event.event_id <> events.event_id
   OR of_event.aggregate_id <> events.aggregate_id
   OR of_event.aggregate_version <> events.aggregate_version
   OR of_event.aggregate_type <> events.aggregate_type
   OR NOT (of_event.tenant_id <=> events.tenant_id)
LIMIT 1
