-- Let appends no longer notify anybody.
DROP TRIGGER trigger_events_notify ON events;
