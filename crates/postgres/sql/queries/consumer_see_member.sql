-- Record that a process of a group is alive.
-- $1 name text · $2 holder uuid
INSERT INTO firefly_consumer_members (
    name,
    holder,
    seen_at
)
SELECT $1::text, $2::uuid, clock_timestamp()
WHERE firefly_here()
ON CONFLICT (name, holder) DO UPDATE SET
    seen_at = excluded.seen_at;
