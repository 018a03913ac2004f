-- Update the checkpoint, the token, the state and the failure of a slot, but not its holder.
-- ?1 name · ?2 slot · ?3 position · ?4 token · ?5 state · ?6 failing_sequence · ?7 attempts · ?8 last_error · ?9 now
UPDATE main.firefly_consumers
SET
    position = ?3,
    token = ?4,
    state = ?5,
    failing_sequence = ?6,
    attempts = ?7,
    last_error = ?8,
    updated_at = ?9
WHERE name = ?1
  AND slot = ?2;
