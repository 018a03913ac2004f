-- The partitions with the events that were leaving are gone, and so are the keys of these events.
DELETE FROM firefly_leaving
WHERE firefly_here()
  AND detached;
