-- Delete the row of a process of a group.
-- ? name · ? holder
DELETE FROM firefly_consumer_members
WHERE name = ?
  AND holder = ?
