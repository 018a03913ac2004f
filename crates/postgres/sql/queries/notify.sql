-- Make appends notify listeners: one notification per transaction, delivered when it commits.
CREATE TRIGGER trigger_events_notify
AFTER INSERT ON events
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_notify();
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_notify;
