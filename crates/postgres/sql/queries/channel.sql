-- The channel on which appends notify; no row means that they do not.
SELECT 'firefly_events_' || tgrelid
FROM pg_trigger
WHERE tgrelid = to_regclass('events')
  AND tgname = 'trigger_events_notify'
  AND tgenabled = 'A';
