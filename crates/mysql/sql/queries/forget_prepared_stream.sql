-- Forget the streams of which nothing was archived before their events that do not leave after all. The program adds a list of ids.
-- ? first global_sequence of those events · ? last
DELETE stream
FROM firefly_archived_streams AS stream FORCE INDEX (PRIMARY)
WHERE stream.last_sequence BETWEEN ? AND ?
  AND stream.former_version IS NULL
  AND stream.aggregate_id IN
