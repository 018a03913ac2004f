-- Correct the keys of an event that is updated, if they change.
CREATE TRIGGER trigger_events_keys_updated
AFTER UPDATE ON events
FOR EACH ROW
BEGIN
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
