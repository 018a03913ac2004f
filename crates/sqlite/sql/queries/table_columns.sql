-- The columns of a table, generated ones included.
-- ?1 table
SELECT name
FROM pragma_table_xinfo(?1);
