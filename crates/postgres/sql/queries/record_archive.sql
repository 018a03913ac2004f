-- Record an archive. If the digest is already recorded, update its location and whether all of its events are removed from the log.
-- $1 digest text · $2 first_sequence bigint · $3 last_sequence bigint · $4 events bigint · $5 first_created_at timestamptz
-- $6 last_created_at timestamptz · $7 location text · $8 archived_at timestamptz · $9 log_events bigint or NULL
-- $10 log_digest text or NULL · $11 retired boolean
INSERT INTO firefly_archives (
    digest,
    first_sequence,
    last_sequence,
    events,
    first_created_at,
    last_created_at,
    location,
    archived_at,
    log_events,
    log_digest,
    retired
)
SELECT
    $1::text,
    $2::bigint,
    $3::bigint,
    $4::bigint,
    $5::timestamptz,
    $6::timestamptz,
    $7::text,
    $8::timestamptz,
    $9::bigint,
    $10::text,
    $11::boolean
WHERE firefly_here()
ON CONFLICT (digest) DO UPDATE SET
    location = EXCLUDED.location,
    retired = EXCLUDED.retired;
