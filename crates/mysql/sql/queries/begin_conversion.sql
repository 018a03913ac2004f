-- Begin a conversion, or begin it again. NULL makes the log one table.
-- ? events_per_range
INSERT INTO firefly_conversion (id, events_per_range, copied, copy_until)
VALUES (1, ?, 0, NULL)
ON DUPLICATE KEY UPDATE
    events_per_range = VALUES(events_per_range),
    copied = 0,
    copy_until = NULL
