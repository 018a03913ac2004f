-- Make the next table one table with the unique keys. The optional indexes are made as in every log that is one table.
ALTER TABLE firefly_next_events
    ADD UNIQUE KEY idx_events_event_id (event_id),
    ADD UNIQUE KEY idx_events_aggregate_version (aggregate_id, aggregate_version){indexes}
