-- The state of a conversion: see partitions/conversion.sql. No row if it was cut off before it began.
SELECT
    events_per_range,
    copied,
    copy_until
FROM firefly_conversion
