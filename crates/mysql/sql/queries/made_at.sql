-- When the store was created. This distinguishes it from a store on another server.
SELECT installed_at
FROM firefly_schema_history
WHERE version = '1.0.0'
