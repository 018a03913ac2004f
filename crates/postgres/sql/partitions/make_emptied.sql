-- Create the empty table that takes the place of the partitions that are leaving, so that archived events can come back.
DROP TABLE IF EXISTS firefly_emptied_events;
CREATE TABLE firefly_emptied_events (
    LIKE events INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING INDEXES INCLUDING STORAGE
);
-- It has the owner of events, and gives no rights to others: what they insert here would have no keys.
SELECT firefly_take_rights('firefly_emptied_events', 'events');
SELECT firefly_take_rights('firefly_emptied_events', NULL);
