-- Hold the table of events, and the tables of its triggers, until the transaction ends, without writing a row. A statement that changes the
-- table waits for the transaction then. It locks the table of events first, and then the other tables. If a transaction used them in another
-- order, one of the two would be the victim of a deadlock (1213).
INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data)
SELECT '', '', '', 1, '', '{}'
FROM DUAL
WHERE FALSE
