-- The columns of a table in their order, without those that the server computes. The last condition names the table, so that no statement
-- changes it meanwhile.
-- ? table, which also replaces the name in the last condition
SELECT column_name
FROM information_schema.columns
WHERE table_schema = DATABASE()
  AND table_name = ?
  AND COALESCE(generation_expression, '') = ''
  AND NOT EXISTS (SELECT 1 FROM events /* or that table */ WHERE FALSE)
ORDER BY ordinal_position
