-- The transactions that may have begun before the last conversion, or within two seconds after it, which a pooled connection may take to
-- notice it. If the role may not see when transactions of others began, all open ones, except those of the server itself.
SELECT pg_locks.virtualtransaction
FROM pg_locks
JOIN pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
JOIN firefly_conversions AS conversions ON conversions.finished_at IS NULL
WHERE pg_locks.locktype = 'virtualxid'
  AND pg_locks.virtualxid = pg_locks.virtualtransaction
  AND pg_stat_activity.datname = current_database()
  AND pg_stat_activity.pid <> pg_backend_pid()
  AND pg_stat_activity.usesysid IS NOT NULL
  AND (pg_stat_activity.xact_start IS NULL OR pg_stat_activity.xact_start < conversions.swapped_at + INTERVAL '2 seconds');
