-- Give a slot to a process for a time that begins now, or free it.
-- ? token · ? holder · ? microseconds of the lease · ? name · ? slot
UPDATE firefly_consumers
SET
    token = ?,
    holder = ?,
    lease_until = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND,
    updated_at = UTC_TIMESTAMP(6)
WHERE name = ?
  AND slot = ?
