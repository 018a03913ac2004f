-- How far the log goes on without a hole after a sequence, and what the greatest sequence is, among its next rows; and where the
-- log ends.
-- Where sequences are given out in steps, each is a hole: another session may step otherwise, and fill it.
-- The version is read so that the rows are: along its key alone, MySQL without statistics would walk from the log's beginning.
-- ? ? the sequence · ? most rows
SELECT
    MAX(IF(global_sequence = ? + place, global_sequence, NULL)) AS contiguous,
    MAX(global_sequence) AS greatest,
    COUNT(aggregate_version) AS events,
    (SELECT COALESCE(MAX(global_sequence), 0) FROM events /* or their keys */) AS log_end
FROM (
    SELECT
        global_sequence,
        aggregate_version,
        ROW_NUMBER() OVER (ORDER BY global_sequence) AS place
    FROM (
        SELECT
            global_sequence,
            aggregate_version
        FROM events /* or their keys */ FORCE INDEX (PRIMARY)
        WHERE global_sequence > ?
        ORDER BY global_sequence
        LIMIT ?
    ) AS following
) AS placed
