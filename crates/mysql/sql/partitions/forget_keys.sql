-- Forget the keys of an event that is deleted. An event that is leaving with its partition is not deleted.
CREATE TRIGGER trigger_events_keys_deleted
AFTER DELETE ON events
FOR EACH ROW
BEGIN
    IF EXISTS (
        SELECT 1
        FROM firefly_leaving
        WHERE OLD.global_sequence BETWEEN first_sequence AND last_sequence
        LOCK IN SHARE MODE
    )
    THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the event is being archived: wait, or retire or attach the archive again';
    END IF;
    DELETE FROM firefly_event_keys
    WHERE global_sequence = OLD.global_sequence;
END
