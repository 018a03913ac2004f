-- The columns of a table, including generated ones.
-- ?1 table
SELECT name
FROM pragma_table_xinfo(?1);
