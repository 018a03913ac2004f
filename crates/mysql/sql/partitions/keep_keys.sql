-- Keep the keys of an event that is inserted. Two events with one id, or with one version of an aggregate, are refused here (1062).
CREATE TRIGGER trigger_events_keys
AFTER INSERT ON events
FOR EACH ROW
INSERT INTO firefly_event_keys (
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_version,
    aggregate_type,
    tenant_id
)
VALUES (
    NEW.global_sequence,
    NEW.event_id,
    NEW.aggregate_id,
    NEW.aggregate_version,
    NEW.aggregate_type,
    NEW.tenant_id
)
