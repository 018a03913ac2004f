-- Renew all leases of a process: they begin again now.
-- $1 name · $2 holder · $3 microseconds of the lease bigint
UPDATE firefly_consumers
SET lease_until = clock_timestamp() + $3::bigint * INTERVAL '1 microsecond'
WHERE firefly_here()
  AND name = $1::text
  AND holder = $2;
