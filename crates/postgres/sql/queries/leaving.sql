-- The events that are leaving with their partitions; no row if there are none.
SELECT
    digest,
    first_sequence,
    last_sequence,
    end_sequence,
    detached,
    (SELECT location FROM firefly_archives AS archive WHERE archive.digest = leaving.digest) AS location
FROM firefly_leaving AS leaving
WHERE firefly_here();
