-- The end of MariaDB's redo log, and how much of it is on the disk. MySQL does not have these variables, and its own ones are not current.
SHOW GLOBAL STATUS
WHERE variable_name IN (
    'Innodb_lsn_current',
    'Innodb_lsn_flushed'
)
