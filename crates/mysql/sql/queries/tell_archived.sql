-- Record in the gates whether events are archived, for appends. Run only with all gates locked.
-- ? ? whether there are
UPDATE firefly_gate
SET has_archived = ?
WHERE has_archived <> ?
