-- Create a table with the columns of events: only names and types, no generated values.
CREATE TABLE events_restored (LIKE events);
