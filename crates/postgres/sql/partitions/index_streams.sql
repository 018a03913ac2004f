-- The index by which the events of a stream are found within a partition. If the table of events has it, every partition gets it. It is made
-- after the other indexes of partitions: of two indexes that cost the same in an empty table, the planner takes the younger one.
CREATE INDEX idx_events_stream ON events (aggregate_id, global_sequence);
