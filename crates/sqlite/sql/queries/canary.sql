-- Nothing: a statement that SQLite prepares again when what statements mean has changed on the connection.
SELECT 1;
