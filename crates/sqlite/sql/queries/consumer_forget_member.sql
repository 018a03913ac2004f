-- Delete the row of a process of a group.
-- ?1 name · ?2 holder
DELETE FROM main.firefly_consumer_members
WHERE name = ?1
  AND holder = ?2;
