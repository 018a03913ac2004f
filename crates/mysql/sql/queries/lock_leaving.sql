-- Take the lock for letting events leave with their partitions, unless another process has it. It ends with the connection.
SELECT GET_LOCK(CONCAT('leaving_', SHA2(DATABASE(), 224)), 0)
