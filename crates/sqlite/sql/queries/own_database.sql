-- Which database in memory this connection belongs to; an error where no store made the connection.
SELECT firefly_database();
