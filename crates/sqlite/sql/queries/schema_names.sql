-- The names of all tables, indexes, views and triggers.
SELECT name
FROM sqlite_schema;
