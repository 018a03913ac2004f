-- Record that a migration was applied.
-- ? version · ? description · ? checksum
INSERT INTO firefly_schema_history (version, description, checksum)
VALUES (?, ?, ?)
