-- Correct the keys of an event that is updated, if they change. An event that is leaving with its partition is not updated.
CREATE TRIGGER trigger_events_keys_updated
AFTER UPDATE ON events
FOR EACH ROW
BEGIN
    IF EXISTS (
        SELECT 1
        FROM firefly_leaving
        WHERE OLD.global_sequence BETWEEN first_sequence AND last_sequence
           OR NEW.global_sequence <> OLD.global_sequence AND NEW.global_sequence < end_sequence
        LOCK IN SHARE MODE
    )
    THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the event is being archived: wait, or retire or attach the archive again';
    END IF;
    IF NOT (
        NEW.global_sequence = OLD.global_sequence
        AND NEW.event_id = OLD.event_id
        AND NEW.aggregate_id = OLD.aggregate_id
        AND NEW.aggregate_version = OLD.aggregate_version
        AND NEW.aggregate_type = OLD.aggregate_type
        AND NEW.tenant_id <=> OLD.tenant_id
    )
    THEN
        UPDATE firefly_event_keys
        SET
            global_sequence = NEW.global_sequence,
            event_id = NEW.event_id,
            aggregate_id = NEW.aggregate_id,
            aggregate_version = NEW.aggregate_version,
            aggregate_type = NEW.aggregate_type,
            tenant_id = NEW.tenant_id
        WHERE global_sequence = OLD.global_sequence;
    END IF;
END
