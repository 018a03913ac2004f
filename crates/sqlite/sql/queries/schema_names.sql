-- The names of all that there is.
SELECT name
FROM sqlite_schema;
