-- Store a seal. An existing seal at the same sequence does not change.
-- $1 global_sequence bigint · $2 events bigint · $3 digest text · $4 sealed_at timestamptz
INSERT INTO firefly_seals (
    global_sequence,
    events,
    digest,
    sealed_at
)
SELECT $1::bigint, $2::bigint, $3::text, $4::timestamptz
WHERE firefly_here()
ON CONFLICT (global_sequence) DO NOTHING;
