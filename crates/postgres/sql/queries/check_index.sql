-- Check the structure of a B-tree, and that it has an entry for each row. An error means that it is damaged.
-- $1 oid of the index
SELECT bt_index_check($1::oid::regclass, true);
