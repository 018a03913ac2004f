-- Forget that an aggregate had archived events.
-- ?1 aggregate_id
DELETE FROM firefly_archived_streams
WHERE aggregate_id = ?1;
