-- Give a slot to a process until a time, or free it.
-- ?1 name · ?2 slot · ?3 token · ?4 holder · ?5 lease_until · ?6 now
UPDATE main.firefly_consumers
SET
    token = ?3,
    holder = ?4,
    lease_until = ?5,
    updated_at = ?6
WHERE name = ?1
  AND slot = ?2;
