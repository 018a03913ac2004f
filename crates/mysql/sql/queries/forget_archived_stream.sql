-- Delete the records that aggregates have archived events. The program adds a list of ids.
DELETE stream
FROM firefly_archived_streams AS stream FORCE INDEX (PRIMARY)
WHERE stream.aggregate_id IN
