-- Fails if the search path leads to another store than the one that was opened.
SELECT firefly_here();
