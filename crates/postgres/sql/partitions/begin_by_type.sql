-- Divide the only partition of an empty log by aggregate type, within the transaction that partitioned the log. The sequence must belong to
-- the table of events.
ALTER TABLE events DETACH PARTITION events_from_1;
DROP TABLE events_from_1;
SELECT firefly_add_last_partition(NULL);
