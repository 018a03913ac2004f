-- Store a seal. An existing seal at the same sequence does not change.
-- ? global_sequence · ? events · ? digest · ? sealed_at
INSERT INTO firefly_seals (
    global_sequence,
    events,
    digest,
    sealed_at
)
VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE global_sequence = VALUES(global_sequence)
