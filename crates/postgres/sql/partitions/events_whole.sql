-- Make the complete copy of a partitioned log the table of events, and move everything that depends on the partitioned one: triggers,
-- privileges and views. Run within a transaction that has locked the table. Keys are kept until no transaction uses them any more.
DO $do$
DECLARE
    definition text;
    -- Statements that use the current name of the table.
    hanging CONSTANT text[] := ARRAY(
        SELECT pg_get_triggerdef(oid)
        FROM pg_trigger
        WHERE tgrelid = 'events'::regclass
          AND NOT tgisinternal
          AND tgname NOT LIKE 'trigger\_events\_whole%'
    ) || ARRAY(
        SELECT format(
            'ALTER TABLE events %s TRIGGER %I',
            CASE tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END,
            tgname
        )
        FROM pg_trigger
        WHERE tgrelid = 'events'::regclass
          AND NOT tgisinternal
          AND tgenabled <> 'O'
          AND tgname NOT LIKE 'trigger\_events\_whole%'
    ) || ARRAY(
        SELECT DISTINCT format(
            'CREATE OR REPLACE VIEW %s%s AS %s',
            views.oid::regclass,
            ' WITH (' || array_to_string(views.reloptions, ', ') || ')',
            pg_get_viewdef(views.oid)
        )
        FROM pg_depend
        JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
        JOIN pg_class AS views ON views.oid = pg_rewrite.ev_class
        WHERE pg_depend.classid = 'pg_rewrite'::regclass
          AND pg_depend.refclassid = 'pg_class'::regclass
          AND pg_depend.refobjid = 'events'::regclass
          AND views.relkind = 'v'
    );
    made record;
BEGIN
    DROP TRIGGER trigger_events_whole ON events;
    DROP TRIGGER trigger_events_whole_updated ON events;
    DROP TRIGGER trigger_events_whole_deleted ON events;
    DROP TRIGGER trigger_events_whole_truncated ON events;
    ALTER TABLE events RENAME TO firefly_partitioned_events;
    FOR made IN
        SELECT indexes.relname AS name
        FROM pg_index
        JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
        WHERE pg_index.indrelid = 'firefly_partitioned_events'::regclass
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', made.name, 'partitioned_' || made.name);
    END LOOP;
    ALTER TABLE firefly_whole_events RENAME TO events;
    PERFORM firefly_take_rights('events', 'firefly_partitioned_events');
    FOR made IN
        SELECT indexes.relname AS name
        FROM pg_index
        JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
        WHERE pg_index.indrelid = 'events'::regclass
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', made.name, substr(made.name, length('whole_') + 1));
    END LOOP;
    FOREACH definition IN ARRAY hanging LOOP
        EXECUTE definition;
    END LOOP;
    EXECUTE regexp_replace(pg_get_functiondef('firefly_high_water_mark()'::regprocedure), '\mFROM firefly_event_keys\M', 'FROM events', 'g');
END;
$do$;
