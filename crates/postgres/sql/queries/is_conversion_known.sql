-- Whether enough time has passed for every pooled connection to notice the conversion.
SELECT clock_timestamp() >= swapped_at + INTERVAL '2 seconds'
FROM firefly_conversions
WHERE finished_at IS NULL;
