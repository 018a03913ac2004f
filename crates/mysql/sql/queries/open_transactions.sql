-- The transactions that have held locks for some time: their connections, and for how many seconds. Refused to whom may not know.
-- ? seconds
SELECT
    trx_mysql_thread_id,
    TIMESTAMPDIFF(SECOND, trx_started, CONVERT_TZ(NOW(), @@session.time_zone, 'SYSTEM')) AS age
FROM information_schema.innodb_trx
WHERE trx_rows_locked + trx_rows_modified > 0
HAVING age >= ?
ORDER BY age DESC
