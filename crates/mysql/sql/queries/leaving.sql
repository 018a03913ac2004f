-- The events that are leaving with their partition; no row if there are none.
SELECT
    leaving.digest,
    leaving.first_sequence,
    leaving.last_sequence,
    (SELECT location FROM firefly_archives AS archive WHERE archive.digest = leaving.digest) AS location
FROM firefly_leaving AS leaving
