-- The sequence of the first event that is leaving with its partition, for a transaction that moves events; no row if there are none.
SELECT first_sequence
FROM firefly_leaving
LOCK IN SHARE MODE
