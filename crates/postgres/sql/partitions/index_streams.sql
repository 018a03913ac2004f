-- The way to the events of a stream within each partition. Once it is on the table of events, every partition gets it.
CREATE INDEX idx_events_stream ON events (aggregate_id, global_sequence);
