-- Record that a process of a group is alive.
-- ? name · ? holder
INSERT INTO firefly_consumer_members (
    name,
    holder,
    seen_at
)
VALUES (?, ?, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE seen_at = VALUES(seen_at)
