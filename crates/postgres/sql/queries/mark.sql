-- The high-water mark: see firefly_high_water_mark() in the migrations; and the end of the log, which may have been looked at a
-- moment before. One round trip.
SELECT
    firefly_high_water_mark(),
    COALESCE((SELECT MAX(global_sequence) FROM events), 0)
WHERE firefly_here();
