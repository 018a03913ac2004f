-- Tell appends whether events are archived; for whoever holds all gates.
-- ? ? whether there are
UPDATE firefly_gate
SET has_archived = ?
WHERE has_archived <> ?
