-- Create the table into which adjacent partitions are joined. It gets its indexes after its rows. The check proves that they are in the range
-- of these partitions, so that no row is read when the table takes their place.
-- $1 the condition of the range
DROP TABLE IF EXISTS firefly_joined_events;
CREATE TABLE firefly_joined_events (
    LIKE events INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE
);
-- It has the owner of events, and gives no rights to others: what they insert here would have no keys.
SELECT firefly_take_rights('firefly_joined_events', 'events');
SELECT firefly_take_rights('firefly_joined_events', NULL);
ALTER TABLE firefly_joined_events ADD CONSTRAINT firefly_bound CHECK ($1);
