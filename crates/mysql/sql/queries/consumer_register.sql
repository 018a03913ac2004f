-- Insert a slot of a consumer that nobody holds; one that is there stays as it is.
-- ? name · ? slot · ? position · ? state · ? definition
INSERT INTO firefly_consumers (
    name,
    slot,
    position,
    state,
    definition,
    updated_at
)
VALUES (?, ?, ?, ?, ?, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE name = VALUES(name)
