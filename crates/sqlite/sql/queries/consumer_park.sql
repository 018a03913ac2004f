-- Park an event. If it is already parked, update its attempts and its reason. If the attempts grew, clear its replay request.
-- ?1 name · ?2 global_sequence · ?3 aggregate_id · ?4 attempts · ?5 reason · ?6 now
INSERT INTO main.firefly_parked_events (
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (name, global_sequence) DO UPDATE SET
    attempts = excluded.attempts,
    reason = excluded.reason,
    replay = replay AND attempts >= excluded.attempts;
