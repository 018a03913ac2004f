-- Whether an index is valid. No row if there is none.
-- $1 its name text
SELECT indisvalid
FROM pg_index
WHERE indexrelid = to_regclass($1::text);
