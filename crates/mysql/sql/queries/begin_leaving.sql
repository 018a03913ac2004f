-- Note that events are leaving with their partition. Triggers refuse changes of them from the commit on.
-- ? digest of the archive · ? first global_sequence · ? last · ? the sequence that the partition ends before
INSERT INTO firefly_leaving (id, digest, first_sequence, last_sequence, end_sequence)
VALUES (1, ?, ?, ?, ?)
