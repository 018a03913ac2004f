-- Whether this role may let events leave the log with their partitions.
SELECT has_table_privilege('firefly_leaving', 'INSERT, DELETE') AS may_leave
WHERE firefly_here();
