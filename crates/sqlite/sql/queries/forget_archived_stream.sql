-- Delete the record that an aggregate has archived events.
-- ?1 aggregate_id
DELETE FROM firefly_archived_streams
WHERE aggregate_id = ?1;
