-- Record that the conversion is finished.
UPDATE firefly_conversions
SET finished_at = clock_timestamp()
WHERE finished_at IS NULL;
