-- Delete an archive whose events are back in the log.
-- ?1 digest
DELETE FROM firefly_archives
WHERE digest = ?1;
