-- The columns of a table in their order, without those that the server computes.
-- ? table
SELECT column_name
FROM information_schema.columns
WHERE table_schema = DATABASE()
  AND table_name = ?
  AND COALESCE(generation_expression, '') = ''
ORDER BY ordinal_position
