-- Whether events are archived, by the gate that appends read.
SELECT has_archived
FROM firefly_gate
WHERE id = 3
