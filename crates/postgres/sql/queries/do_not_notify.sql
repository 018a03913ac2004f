-- Stop notifications by appends.
DROP TRIGGER trigger_events_notify ON events;
