-- Whether there is a table; one row if so.
-- ?1 name
SELECT name
FROM sqlite_schema
WHERE type = 'table'
  AND name = ?1;
