-- Record the first sequence of the second partition.
-- $1 its first sequence bigint
UPDATE firefly_conversions
SET bound = $1
WHERE finished_at IS NULL;
