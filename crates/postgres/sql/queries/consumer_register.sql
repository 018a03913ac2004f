-- Insert a free slot of a consumer. An existing slot does not change.
-- $1 name text · $2 slot integer · $3 position bigint · $4 state text · $5 definition text
INSERT INTO firefly_consumers (
    name,
    slot,
    position,
    state,
    definition,
    updated_at
)
SELECT $1::text, $2::integer, $3::bigint, $4::text, $5::text, clock_timestamp()
WHERE firefly_here()
ON CONFLICT (name, slot) DO NOTHING;
