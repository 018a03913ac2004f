-- Delete an archive whose events are back in the log.
-- ? digest
DELETE FROM firefly_archives
WHERE digest = ?
