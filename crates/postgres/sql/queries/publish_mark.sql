-- Prove the high-water mark and publish it. A published mark never goes back. Returns the published mark, and the end of the log, which may
-- have been read a moment earlier. Need not wait for a synchronous standby. One round trip.
INSERT INTO firefly_published_mark AS published (id, global_sequence, published_at)
SELECT 1, firefly_high_water_mark(), clock_timestamp()
WHERE firefly_here()
ON CONFLICT (id) DO UPDATE SET
    global_sequence = GREATEST(published.global_sequence, excluded.global_sequence),
    published_at = GREATEST(published.published_at, excluded.published_at)
RETURNING
    global_sequence,
    COALESCE((SELECT MAX(stored.global_sequence) FROM events /* or their keys */ AS stored), 0),
    set_config('synchronous_commit', 'local', true);
