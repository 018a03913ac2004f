-- The oldest open transaction that has begun to append, and so holds back the high-water mark. Returns its process (NULL if it is prepared
-- for a two-phase commit), and the seconds since it began (NULL if this role may not see that).
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
