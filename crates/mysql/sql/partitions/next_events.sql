-- Create the table that takes the name events later. It is like events, and empty.
CREATE TABLE firefly_next_events LIKE events
