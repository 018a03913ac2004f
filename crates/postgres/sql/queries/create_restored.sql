-- A table with the columns of events: their names and types, and nothing that computes them.
CREATE TABLE events_restored (LIKE events);
