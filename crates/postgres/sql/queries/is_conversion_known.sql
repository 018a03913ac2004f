-- Whether every pooled connection had the time to find out that the store was converted.
SELECT clock_timestamp() >= swapped_at + INTERVAL '2 seconds'
FROM firefly_conversions
WHERE finished_at IS NULL;
