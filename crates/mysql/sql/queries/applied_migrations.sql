-- The migrations that were applied, in their order.
SELECT
    version,
    checksum
FROM firefly_schema_history
ORDER BY installed_rank
