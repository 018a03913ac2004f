-- The open transactions: whether it is a REPEATABLE READ one of this connection, the connection, and the beginning. Whoever asks within a tenth
-- of a second gets the same rows again. If one of this connection is among them, the rows are younger than its first one.
SELECT
    trx_mysql_thread_id = CONNECTION_ID() AND trx_isolation_level = 'REPEATABLE READ',
    trx_mysql_thread_id,
    CAST(trx_started AS CHAR)
FROM information_schema.innodb_trx
WHERE trx_mysql_thread_id <> 0
