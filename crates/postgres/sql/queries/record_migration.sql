-- Record that a migration was applied.
-- $1 version · $2 description · $3 checksum
INSERT INTO firefly_schema_history (version, description, checksum)
VALUES ($1, $2, $3);
