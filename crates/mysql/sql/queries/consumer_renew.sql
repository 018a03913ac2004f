-- Renew all leases of a process: they begin again now. This does not wait for locked slots of other processes: with READ COMMITTED, an
-- UPDATE checks their committed rows.
-- ? microseconds of the lease · ? name · ? holder
UPDATE firefly_consumers
SET lease_until = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND
WHERE name = ?
  AND holder = ?
