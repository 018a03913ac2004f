-- Delete the rows of the processes of a group that were not seen for a time. Rows that another transaction has locked are skipped, so that
-- nobody waits.
-- $1 name · $2 microseconds bigint
DELETE FROM firefly_consumer_members
WHERE firefly_here()
  AND (name, holder) IN (
    SELECT
        name,
        holder
    FROM firefly_consumer_members
    WHERE name = $1::text
      AND seen_at < clock_timestamp() - $2::bigint * INTERVAL '1 microsecond'
    FOR UPDATE SKIP LOCKED
  );
