-- What this server replicates; no row if nothing. Refused to whom may not know.
SHOW REPLICA STATUS
