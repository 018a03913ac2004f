-- How many processes of a group were seen since a time.
-- ?1 name · ?2 the time
SELECT COUNT(*)
FROM main.firefly_consumer_members
WHERE name = ?1
  AND seen_at >= ?2;
