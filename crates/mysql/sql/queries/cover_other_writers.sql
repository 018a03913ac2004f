-- Make the appends of other programs take a gate too, for each row: see the migrations. Archived ids and versions are refused.
CREATE TRIGGER trigger_events_gate
BEFORE INSERT ON events
FOR EACH ROW
BEGIN
    SET @firefly_gate = (
        SELECT has_archived
        FROM firefly_gate
        WHERE id = 3 + MICROSECOND(NOW(6)) DIV 10000
        LOCK IN SHARE MODE
    );
    IF @firefly_gate
        AND (
            EXISTS (
                SELECT 1
                FROM firefly_archived_events
                WHERE event_id = NEW.event_id
                LOCK IN SHARE MODE
            )
            OR EXISTS (
                SELECT 1
                FROM firefly_archived_streams
                WHERE aggregate_id = NEW.aggregate_id
                  AND version >= NEW.aggregate_version
                LOCK IN SHARE MODE
            )
        )
    THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the event id, or the version of the aggregate, is archived';
    END IF;
END
