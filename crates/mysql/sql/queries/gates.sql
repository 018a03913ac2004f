-- The number of gates and of turns.
SELECT
    (SELECT COUNT(*) FROM firefly_gate WHERE id BETWEEN 3 AND 102),
    (SELECT COUNT(*) FROM firefly_turn WHERE id BETWEEN 0 AND 999)
