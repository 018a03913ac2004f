-- Hold the table of events until the transaction ends, as a user who cannot insert events.
SELECT global_sequence
FROM events
WHERE FALSE
