-- Ours: a hundred gates instead of three. An append holds the gate of the moment, which changes a hundred times a second, so that a gate comes
-- again after a second only. A reader at a hole waits for the transactions that were open when it came there, and hardly for later ones.
-- The three of before go once these are there.
INSERT IGNORE INTO firefly_gate (id)
WITH RECURSIVE numbers (id) AS (
    SELECT 3
    UNION ALL
    SELECT id + 1
    FROM numbers
    WHERE id < 102
)
SELECT id
FROM numbers;
