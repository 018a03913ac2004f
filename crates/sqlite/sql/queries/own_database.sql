-- The id of the in-memory database of this connection. An error if no store created the connection.
SELECT firefly_database();
