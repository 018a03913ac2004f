-- What SQLite finds wrong with the file, at most 100 things; one row that says ok if nothing. Reads everything.
PRAGMA integrity_check;
