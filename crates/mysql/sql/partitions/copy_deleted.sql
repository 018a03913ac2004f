-- Delete the copy of an event that is deleted during a conversion.
CREATE TRIGGER trigger_events_next_deleted
AFTER DELETE ON events
FOR EACH ROW
DELETE FROM firefly_next_events
WHERE global_sequence = OLD.global_sequence
