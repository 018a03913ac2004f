-- Divide the table of events. The keys that a partitioned table cannot keep are in firefly_event_keys before. The optional indexes are made
-- anew with the sequence at their end: MariaDB does not use the primary key at the end of an index of a partitioned table. The last
-- partition takes all that are to come.
ALTER TABLE {table}
    DROP INDEX idx_events_event_id,
    DROP INDEX idx_events_aggregate_version{indexes}
PARTITION BY RANGE (global_sequence) (
    {partitions}
)
