-- Stop copying events.
DROP TRIGGER IF EXISTS trigger_events_whole ON events;
DROP TRIGGER IF EXISTS trigger_events_whole_updated ON events;
DROP TRIGGER IF EXISTS trigger_events_whole_deleted ON events;
DROP TRIGGER IF EXISTS trigger_events_whole_truncated ON events;
DROP FUNCTION IF EXISTS firefly_copy_written();
DROP FUNCTION IF EXISTS firefly_copy_deleted();
DROP FUNCTION IF EXISTS firefly_copy_truncated();
DROP FUNCTION IF EXISTS firefly_copy_events(bigint, bigint, bigint);
DROP TABLE IF EXISTS firefly_whole_events;
