-- Forget the keys of events that are back in the log: a list of sequences is added to this.
DELETE archived
FROM firefly_archived_events AS archived FORCE INDEX (PRIMARY)
WHERE archived.global_sequence IN
