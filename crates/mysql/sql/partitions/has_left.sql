-- A condition: a partitioned log does not have this archived event any more. It has those that are leaving with their partition, until the row
-- of the first one is gone.
event.global_sequence NOT BETWEEN COALESCE((
    SELECT MAX(leaving.first_sequence)
    FROM firefly_leaving AS leaving
    JOIN events AS staying ON staying.global_sequence = leaving.first_sequence
), 0) AND COALESCE((
    SELECT MAX(leaving.last_sequence)
    FROM firefly_leaving AS leaving
    JOIN events AS staying ON staying.global_sequence = leaving.first_sequence
), 0)
