-- Look up the version that an append expects. A statement that inserts events cannot read their keys itself: a trigger of it writes them. So
-- it gives the version that it is to store as a negative number, and gets it if the version before is there, of the same type and tenant, in
-- the log or as the last one that is archived. Otherwise the version is NULL, which is refused (1048). Without this trigger, a negative
-- version is refused by a check, so a log that lost its triggers refuses every append.
-- An event with a given sequence is not stored among events that are leaving with their partition. It would be lost with them.
CREATE TRIGGER trigger_events_guard
BEFORE INSERT ON events
FOR EACH ROW
BEGIN
    IF NEW.global_sequence <> 0 AND EXISTS (
        SELECT 1
        FROM firefly_leaving
        WHERE NEW.global_sequence < end_sequence
        LOCK IN SHARE MODE
    )
    THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'events there are being archived: wait, or retire or attach the archive again';
    END IF;
    IF NEW.aggregate_version = -1 THEN
        SET NEW.aggregate_version = 1;
    ELSEIF NEW.aggregate_version < 0 THEN
        SET NEW.aggregate_version = COALESCE(
            (
                SELECT head.aggregate_version + 1
                FROM firefly_event_keys AS head
                WHERE head.aggregate_id = NEW.aggregate_id
                  AND head.aggregate_version = -NEW.aggregate_version - 1
                  AND head.aggregate_type = NEW.aggregate_type
                  AND head.tenant_id <=> NEW.tenant_id
                LOCK IN SHARE MODE
            ),
            (
                SELECT archived.version + 1
                FROM firefly_archived_streams AS archived
                WHERE archived.aggregate_id = NEW.aggregate_id
                  AND archived.version = -NEW.aggregate_version - 1
                  AND archived.aggregate_type = NEW.aggregate_type
                  AND archived.tenant_id <=> NEW.tenant_id
                LOCK IN SHARE MODE
            )
        );
    END IF;
END
