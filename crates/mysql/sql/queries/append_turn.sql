(
    SELECT COUNT(*)
    FROM firefly_turn FORCE INDEX (PRIMARY)
    WHERE id IN {list}
    FOR UPDATE
)
