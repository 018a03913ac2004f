-- Whether this SQLite was compiled with the table that has the size of each index.
SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB');
