-- Store a seal. An existing seal at the same sequence does not change.
-- ?1 global_sequence · ?2 events · ?3 digest · ?4 sealed_at
INSERT INTO firefly_seals (
    global_sequence,
    events,
    digest,
    sealed_at
)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (global_sequence) DO NOTHING;
