-- Delete the keys of events that are back in the log. The program adds a list of sequences.
DELETE archived
FROM firefly_archived_events AS archived FORCE INDEX (PRIMARY)
WHERE archived.global_sequence IN
