-- How far the log goes on without a hole after a sequence, and what the greatest sequence is, among its next rows.
-- Where sequences are given out in steps, each is a hole: another session may step otherwise, and fill it.
-- ? ? the sequence · ? most rows
SELECT
    MAX(IF(global_sequence = ? + place, global_sequence, NULL)) AS contiguous,
    MAX(global_sequence) AS greatest,
    COUNT(*) AS events
FROM (
    SELECT
        global_sequence,
        ROW_NUMBER() OVER (ORDER BY global_sequence) AS place
    FROM events FORCE INDEX (PRIMARY)
    WHERE global_sequence > ?
    ORDER BY global_sequence
    LIMIT ?
) AS following
