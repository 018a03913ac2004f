-- Errors that SQLite finds in the file, at most 100; one row "ok" if there is none. Reads the whole file.
PRAGMA integrity_check;
