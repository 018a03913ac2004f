-- Give only sequences after this one.
-- ?1 the last sequence that was given
INSERT INTO sqlite_sequence (name, seq)
VALUES ('events', ?1);
