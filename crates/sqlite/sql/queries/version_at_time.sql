-- The version of an aggregate at a time: the version before its first later event, or its last one if there is none; 0 if it has no events.
-- ?1 aggregate_id · ?2 time
SELECT COALESCE(
    (SELECT MIN(aggregate_version) - 1 FROM main.events WHERE aggregate_id = ?1 AND created_at > ?2),
    (SELECT MAX(aggregate_version) FROM main.events WHERE aggregate_id = ?1),
    0
);
