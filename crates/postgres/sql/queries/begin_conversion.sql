-- Begin a conversion, while nobody writes events. It has to prepare all events up to the last allocated sequence.
-- $1 events_per_range bigint, or NULL · $2 by_month boolean · $3 aggregate_types text[], or NULL. One table if none of them is set.
INSERT INTO firefly_conversions (events_per_range, by_month, aggregate_types, prepared, prepare_until)
VALUES ($1, $2, $3, 0, firefly_last_allocated('events_global_sequence_seq'));
