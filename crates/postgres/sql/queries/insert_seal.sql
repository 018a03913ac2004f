-- Store a seal; one at the same sequence stays as it is.
-- $1 global_sequence bigint · $2 events bigint · $3 digest text · $4 sealed_at timestamptz
INSERT INTO firefly_seals (
    global_sequence,
    events,
    digest,
    sealed_at
)
VALUES ($1, $2, $3, $4)
ON CONFLICT (global_sequence) DO NOTHING;
