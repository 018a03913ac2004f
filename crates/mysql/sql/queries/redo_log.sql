-- How far MariaDB's redo log goes, and how far it is on the disk. MySQL has none of these, and its own are not of this moment.
SHOW GLOBAL STATUS
WHERE variable_name IN (
    'Innodb_lsn_current',
    'Innodb_lsn_flushed'
)
