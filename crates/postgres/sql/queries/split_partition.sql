-- End the last partition before a sequence, and begin a new one there; see firefly_split_last_partition.
-- $1 the sequence bigint, or NULL for the next one · $2 the name of the last partition text
SELECT firefly_split_last_partition($1, to_regclass($2::text));
