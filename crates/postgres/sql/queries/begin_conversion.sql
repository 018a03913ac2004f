-- Begin a conversion, while nobody writes events. It has to prepare all events up to the last allocated sequence.
-- $1 events_per_range bigint, NULL for one table, and for a partition each month · $2 by_month boolean
INSERT INTO firefly_conversions (events_per_range, by_month, prepared, prepare_until)
VALUES ($1, $2, 0, firefly_last_allocated('events_global_sequence_seq'));
