-- Whether the table into which partitions are joined has all their events.
-- $1 from this global_sequence · $2 before this one
SELECT
    (SELECT COUNT(*) FROM firefly_joined_events)
    = (SELECT COUNT(*) FROM events WHERE global_sequence >= $1 AND global_sequence < $2)
