-- How many events there are, and how many copies.
SELECT
    (SELECT COUNT(*) FROM events),
    (SELECT COUNT(*) FROM firefly_next_events)
