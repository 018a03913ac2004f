-- The key of the sequences in a log that is divided by aggregate type: a key must contain what divides the table. firefly_event_keys keeps
-- sequences unique.
CREATE UNIQUE INDEX idx_events_sequence_type ON events (global_sequence, aggregate_type);
