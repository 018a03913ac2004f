-- Remove events from the log. Their keys are already stored. The program adds a list of sequences.
DELETE retired
FROM events AS retired FORCE INDEX (PRIMARY)
WHERE retired.global_sequence IN
