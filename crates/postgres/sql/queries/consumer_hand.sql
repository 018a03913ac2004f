-- Give a slot to a process for a time that begins now, or free it.
-- $1 name · $2 slot · $3 token · $4 holder · $5 microseconds of the lease bigint
UPDATE firefly_consumers
SET
    token = $3,
    holder = $4,
    lease_until = clock_timestamp() + $5::bigint * INTERVAL '1 microsecond',
    updated_at = clock_timestamp()
WHERE firefly_here()
  AND name = $1::text
  AND slot = $2;
