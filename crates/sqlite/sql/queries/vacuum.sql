-- Rewrite the database without the free space of deleted and updated rows. Row ids that are a key do not change.
VACUUM;
