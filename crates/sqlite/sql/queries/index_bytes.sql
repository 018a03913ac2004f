-- How many bytes an index takes. Reads all of it.
-- ?1 name
SELECT pgsize
FROM dbstat
WHERE name = ?1
  AND aggregate = TRUE;
