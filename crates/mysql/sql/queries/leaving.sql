-- The events that are leaving with their partition, and whether they have left; no row if there are none.
SELECT
    leaving.digest,
    leaving.first_sequence,
    leaving.last_sequence,
    staying.global_sequence IS NULL,
    (SELECT location FROM firefly_archives AS archive WHERE archive.digest = leaving.digest) AS location
FROM firefly_leaving AS leaving
LEFT JOIN events AS staying ON staying.global_sequence = leaving.first_sequence
