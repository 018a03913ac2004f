(
    SELECT id
    FROM firefly_gate
    WHERE id = MICROSECOND(NOW(6)) DIV 20000 MOD 3
    LOCK IN SHARE MODE
)
