-- Store the last assigned sequence: only later ones are assigned.
-- ?1 the last sequence that was given
INSERT INTO sqlite_sequence (name, seq)
VALUES ('events', ?1);
