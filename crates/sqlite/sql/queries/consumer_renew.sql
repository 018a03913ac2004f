-- Renew all leases of a process until a time.
-- ?1 name · ?2 holder · ?3 lease_until
UPDATE main.firefly_consumers
SET lease_until = ?3
WHERE name = ?1
  AND holder = ?2;
