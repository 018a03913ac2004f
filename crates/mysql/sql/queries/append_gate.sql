(
    SELECT has_archived
    FROM firefly_gate
    WHERE id = 3 + MICROSECOND(NOW(6)) DIV 10000
    LOCK IN SHARE MODE
)
