-- The transaction that holds the high-water mark back longest, of those that began to append and are not done: its process, NULL
-- if it was prepared for a commit in two phases, and the seconds since it began, NULL if this role may not see that.
SELECT
    pg_locks.pid,
    EXTRACT(EPOCH FROM clock_timestamp() - pg_stat_activity.xact_start)::bigint
FROM pg_locks
LEFT JOIN pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
WHERE pg_locks.locktype = 'advisory'
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND pg_locks.classid::bigint = ('events'::regclass::oid::bigint # 1718973036) & 4294967295
  AND pg_locks.objsubid = 2
  AND pg_locks.mode = 'ShareLock'
  AND pg_locks.granted
ORDER BY pg_locks.pid IS NOT NULL, pg_stat_activity.xact_start
LIMIT 1;
