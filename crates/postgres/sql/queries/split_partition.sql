-- End the last partition before a sequence, and begin a new one there; see firefly_split_last_partition.
-- $1 the sequence bigint
SELECT firefly_split_last_partition($1);
