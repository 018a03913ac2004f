-- Update the checkpoint, the token, the state and the failure of a slot, but not its holder.
-- ? position · ? token · ? state · ? failing_sequence · ? attempts · ? last_error · ? name · ? slot
UPDATE firefly_consumers
SET
    position = ?,
    token = ?,
    state = ?,
    failing_sequence = ?,
    attempts = ?,
    last_error = ?,
    updated_at = UTC_TIMESTAMP(6)
WHERE name = ?
  AND slot = ?
