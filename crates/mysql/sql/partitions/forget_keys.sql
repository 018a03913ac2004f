-- Forget the keys of an event that is deleted.
CREATE TRIGGER trigger_events_keys_deleted
AFTER DELETE ON events
FOR EACH ROW
DELETE FROM firefly_event_keys
WHERE global_sequence = OLD.global_sequence
