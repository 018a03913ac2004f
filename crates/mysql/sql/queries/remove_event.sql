-- Remove events whose keys were kept: a list of sequences is added to this.
DELETE retired
FROM events AS retired FORCE INDEX (PRIMARY)
WHERE retired.global_sequence IN
