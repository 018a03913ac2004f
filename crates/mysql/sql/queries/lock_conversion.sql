-- Take the lock for converting the log, unless another process converts it. It ends with the connection, or with unlock_conversion.sql.
SELECT GET_LOCK(CONCAT('convert_', SHA2(DATABASE(), 224)), 0)
