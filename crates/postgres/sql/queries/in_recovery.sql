-- Whether the server is a standby, or recovers: then it accepts no writes and proves no mark.
SELECT pg_is_in_recovery() AS in_recovery;
