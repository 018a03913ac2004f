-- Delete the row of a process of a group.
-- $1 name · $2 holder
DELETE FROM firefly_consumer_members
WHERE firefly_here()
  AND name = $1::text
  AND holder = $2;
