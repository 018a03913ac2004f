-- Let partitions that are made from now on have so many sequences.
-- ? events_per_range
INSERT INTO firefly_partitions (id, events_per_range)
VALUES (1, ?)
ON DUPLICATE KEY UPDATE events_per_range = VALUES(events_per_range)
