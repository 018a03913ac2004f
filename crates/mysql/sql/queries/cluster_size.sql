-- How many nodes the Galera cluster of this server has; no row if it is not in a cluster.
SHOW GLOBAL STATUS
WHERE variable_name IN ('wsrep_cluster_size')
