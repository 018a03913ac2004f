-- The high-water mark: see firefly_high_water_mark() in the migrations. One round trip.
SELECT firefly_high_water_mark()
WHERE firefly_here();
