-- Note how far events are copied.
-- ? copied, copy_until
UPDATE firefly_conversion
SET
    copied = ?,
    copy_until = ?
