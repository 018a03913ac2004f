-- Insert a free slot of a consumer. An existing slot does not change.
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
