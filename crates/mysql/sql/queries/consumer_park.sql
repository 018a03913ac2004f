-- Park an event. If it is already parked, update its attempts and its reason. If the attempts grew, clear its replay request.
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
