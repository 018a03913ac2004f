-- Delete the rows of the processes of a group that were last seen before a time.
-- ?1 name · ?2 the time
DELETE FROM main.firefly_consumer_members
WHERE name = ?1
  AND seen_at < ?2;
