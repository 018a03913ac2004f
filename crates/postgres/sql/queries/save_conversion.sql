-- Record up to which sequence the conversion is prepared.
-- $1 the last sequence that is done bigint
UPDATE firefly_conversions
SET prepared = $1
WHERE finished_at IS NULL;
