-- Park an event. If it is already parked, update its attempts and its reason. If the attempts grew, clear its replay request.
-- $1 name text · $2 global_sequence bigint · $3 aggregate_id uuid · $4 attempts bigint · $5 reason text
INSERT INTO firefly_parked_events (
    name,
    global_sequence,
    aggregate_id,
    attempts,
    reason,
    parked_at
)
SELECT $1::text, $2::bigint, $3::uuid, $4::bigint, $5::text, clock_timestamp()
WHERE firefly_here()
ON CONFLICT (name, global_sequence) DO UPDATE SET
    attempts = excluded.attempts,
    reason = excluded.reason,
    replay = firefly_parked_events.replay AND firefly_parked_events.attempts >= excluded.attempts;
