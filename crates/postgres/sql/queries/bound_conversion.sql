-- Note where the second partition is to begin.
-- $1 its first sequence bigint
UPDATE firefly_conversions
SET bound = $1
WHERE finished_at IS NULL;
