-- Park an event; if it is parked already, with these attempts and this reason, and if they are more, not to be replayed.
-- ? name · ? global_sequence · ? aggregate_id · ? attempts · ? reason
INSERT INTO firefly_parked_events (
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at
)
VALUES (?, ?, ?, ?, ?, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE
    replay = replay AND attempts >= VALUES(attempts),
    attempts = VALUES(attempts),
    reason = VALUES(reason)
