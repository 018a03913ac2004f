-- Update the checkpoint, the token, the state and the failure of a slot, but not its holder.
-- $1 name · $2 slot · $3 position · $4 token · $5 state · $6 failing_sequence · $7 attempts · $8 last_error
UPDATE firefly_consumers
SET
    position = $3,
    token = $4,
    state = $5,
    failing_sequence = $6,
    attempts = $7,
    last_error = $8,
    updated_at = clock_timestamp()
WHERE firefly_here()
  AND name = $1::text
  AND slot = $2;
