-- Copy some events into the table into which partitions are joined.
-- $columns the columns · $1 after this global_sequence · $2 before this one · $3 most events
-- Returns the last global_sequence; NULL if there were none.
WITH copied AS (
    INSERT INTO firefly_joined_events ($columns)
    SELECT $columns
    FROM events
    WHERE global_sequence > $1
      AND global_sequence < $2
    ORDER BY global_sequence
    LIMIT $3
    RETURNING global_sequence
)
SELECT MAX(global_sequence)
FROM copied
