-- The sources that this server replicates; no row if there is none. Refused if the user lacks the right.
SHOW REPLICA STATUS
