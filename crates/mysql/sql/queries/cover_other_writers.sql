-- Let the appends of other programs take the gate of the moment too, row by row: see the migrations.
CREATE TRIGGER trigger_events_gate
BEFORE INSERT ON events
FOR EACH ROW
SET @firefly_gate = (
    SELECT id
    FROM firefly_gate
    WHERE id = 3 + MICROSECOND(NOW(6)) DIV 10000
    LOCK IN SHARE MODE
)
