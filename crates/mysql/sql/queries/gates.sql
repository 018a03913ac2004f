-- How many gates there are, and how many turns.
SELECT
    (SELECT COUNT(*) FROM firefly_gate WHERE id BETWEEN 0 AND 2),
    (SELECT COUNT(*) FROM firefly_turn WHERE id BETWEEN 0 AND 999)
