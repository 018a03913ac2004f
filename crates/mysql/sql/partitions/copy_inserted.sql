-- Copy an event that is inserted during a conversion.
CREATE TRIGGER trigger_events_next_inserted
AFTER INSERT ON events
FOR EACH ROW
INSERT INTO firefly_next_events ({columns})
VALUES ({new})
