-- Let all leases of a process begin anew, now. Slots of others that are locked are not waited for: a READ COMMITTED update looks at what was
-- committed of them.
-- ? microseconds of the lease · ? name · ? holder
UPDATE firefly_consumers
SET lease_until = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND
WHERE name = ?
  AND holder = ?
