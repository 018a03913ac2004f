-- When the store was made, by which one is told from another on a server that nobody has seen.
SELECT installed_at
FROM firefly_schema_history
WHERE version = '1.0.0'
