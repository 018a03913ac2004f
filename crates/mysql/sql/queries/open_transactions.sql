-- The transactions that have held locks for some time: their connections, and the seconds. Refused if the user lacks the right.
-- ? seconds
SELECT
    trx_mysql_thread_id,
    TIMESTAMPDIFF(SECOND, trx_started, CONVERT_TZ(NOW(), @@session.time_zone, 'SYSTEM')) AS age
FROM information_schema.innodb_trx
WHERE trx_rows_locked + trx_rows_modified > 0
HAVING age >= ?
ORDER BY age DESC
