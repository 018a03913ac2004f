-- Whether events are archived, as a gate tells appends.
SELECT has_archived
FROM firefly_gate
WHERE id = 3
