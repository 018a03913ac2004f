-- Whether the sequence assigns its numbers in order, without a cache per connection; no row means that there is no sequence.
SELECT seqcache = 1 AND seqincrement > 0 AND NOT seqcycle
FROM pg_sequence
WHERE seqrelid = to_regclass('events_global_sequence_seq');
