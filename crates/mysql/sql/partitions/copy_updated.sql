-- Update the copy of an event that is updated during a conversion. If there is no copy yet, the new values are copied later.
CREATE TRIGGER trigger_events_next_updated
AFTER UPDATE ON events
FOR EACH ROW
UPDATE firefly_next_events
SET {set}
WHERE global_sequence = OLD.global_sequence
