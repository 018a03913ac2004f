-- Drop the unique keys that the first partition has kept from its time as the table of events. firefly_event_keys has the keys of all
-- events.
DO $do$
DECLARE
    made record;
BEGIN
    IF to_regclass('events_from_1') IS NULL THEN
        RETURN;
    END IF;
    -- First wait for maintenance, which keeps nobody waiting: an autovacuum ends after a second if somebody waits.
    PERFORM set_config('lock_timeout', '5s', true);
    LOCK TABLE events_from_1 IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '50ms', true);
    FOR made IN
        SELECT
            indexes.relname AS name,
            pg_index.indisprimary AS is_primary
        FROM pg_index
        JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
        WHERE pg_index.indrelid = 'events_from_1'::regclass
          AND NOT indexes.relispartition
    LOOP
        IF made.is_primary THEN
            EXECUTE format('ALTER TABLE events_from_1 DROP CONSTRAINT %I', made.name);
        ELSE
            EXECUTE format('DROP INDEX %I', made.name);
        END IF;
    END LOOP;
END;
$do$;
