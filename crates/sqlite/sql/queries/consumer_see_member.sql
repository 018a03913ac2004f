-- Record that a process of a group is alive.
-- ?1 name · ?2 holder · ?3 now
INSERT INTO main.firefly_consumer_members (
    name,
    holder,
    seen_at
)
VALUES (?1, ?2, ?3)
ON CONFLICT (name, holder) DO UPDATE SET
    seen_at = excluded.seen_at;
