-- Store a seal; one at the same sequence stays as it is.
-- ? global_sequence · ? events · ? digest · ? sealed_at
INSERT INTO firefly_seals (
    global_sequence,
    events,
    digest,
    sealed_at
)
VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE global_sequence = VALUES(global_sequence)
