-- Restore what was archived of some aggregates' streams before their events that do not leave after all. The program adds a list of ids.
-- ? first global_sequence of those events · ? last
UPDATE firefly_archived_streams FORCE INDEX (PRIMARY)
SET version = former_version,
    last_event_id = former_event_id,
    last_sequence = former_sequence,
    created_until = former_created_until
WHERE last_sequence BETWEEN ? AND ?
  AND former_version IS NOT NULL
  AND aggregate_id IN
