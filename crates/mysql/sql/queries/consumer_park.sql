-- Park an event; if it is parked already, with these attempts and this reason, and not to be replayed.
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
    attempts = VALUES(attempts),
    reason = VALUES(reason),
    replay = FALSE
