-- How many nodes the Galera cluster of this server has; no row if it has none.
SHOW GLOBAL STATUS
WHERE variable_name IN ('wsrep_cluster_size')
