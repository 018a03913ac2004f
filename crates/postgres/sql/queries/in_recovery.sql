-- Whether the server is a standby or in recovery. Then it accepts no writes and cannot prove a mark.
SELECT pg_is_in_recovery() AS in_recovery;
