-- Note that nothing is left to do.
UPDATE firefly_conversions
SET finished_at = clock_timestamp()
WHERE finished_at IS NULL;
