-- Forget that aggregates had archived events: a list of ids is added to this.
DELETE stream
FROM firefly_archived_streams AS stream FORCE INDEX (PRIMARY)
WHERE stream.aggregate_id IN
