-- Returns nothing. SQLite prepares this statement again if the meaning of statements has changed on the connection.
SELECT 1;
