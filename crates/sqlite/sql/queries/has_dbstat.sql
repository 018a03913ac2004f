-- Whether this SQLite was compiled with the table that says how many bytes each index takes.
SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB');
