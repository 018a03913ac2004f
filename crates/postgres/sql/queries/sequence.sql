-- Whether the sequence gives out its numbers one after the other, to all connections alike; no row means there is none.
SELECT seqcache = 1 AND seqincrement > 0 AND NOT seqcycle
FROM pg_sequence
WHERE seqrelid = to_regclass('events_global_sequence_seq');
