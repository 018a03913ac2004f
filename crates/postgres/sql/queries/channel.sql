-- The channel on which appends notify; no row means that they do not.
SELECT 'firefly_events_' || COALESCE((SELECT former FROM firefly_conversions WHERE former IS NOT NULL ORDER BY id LIMIT 1), tgrelid)
FROM pg_trigger
WHERE tgrelid = to_regclass('events')
  AND tgname = 'trigger_events_notify'
  AND tgenabled = 'A';
