-- Create a partitioned table of events with the columns, checks, indexes, triggers, privileges and views of the current one, which becomes its
-- first partition. Before: firefly_event_keys has all keys, take_summaries.sql ran, and the transaction has locked events. With the validated
-- check firefly_bound, which proves that no sequence is beyond the bound, no row is read. Afterwards: own_sequence.sql moves the sequence;
-- locking it here could deadlock with sessions that wait for the table. forget_own_keys.sql drops the keys of the first partition, which
-- earlier transactions still use.
-- $1 the first sequence of the second partition; NULL if the first one takes every sequence
DO $do$
DECLARE
    bound CONSTANT bigint := $1;
    definition text;
    -- The key of a log that is divided by aggregate type contains the type.
    key CONSTANT regclass := COALESCE(to_regclass('idx_events_sequence_type'), to_regclass('idx_events_global_sequence'));
    -- Statements that use the current name of the table.
    hanging CONSTANT text[] := ARRAY(
        SELECT replace(pg_get_indexdef(indexrelid), ' idx_events_sequence_type ', ' idx_events_global_sequence ')
        FROM pg_index
        WHERE indrelid = 'events'::regclass
          AND (NOT indisunique OR indexrelid = key)
        ORDER BY indexrelid
    ) || ARRAY(
        SELECT pg_get_triggerdef(oid)
        FROM pg_trigger
        WHERE tgrelid = 'events'::regclass
          AND NOT tgisinternal
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
    ALTER TABLE events RENAME TO events_from_1;
    CREATE TABLE events (
        LIKE events_from_1 INCLUDING COMMENTS INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE
    ) PARTITION BY RANGE (global_sequence);
    PERFORM firefly_take_rights('events', 'events_from_1');
    -- The check is only for the first partition.
    ALTER TABLE events DROP CONSTRAINT IF EXISTS firefly_bound;

    FOR made IN
        SELECT
            indexes.relname AS name,
            row_number() OVER (ORDER BY indexes.relname) AS number
        FROM pg_index
        JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
        WHERE pg_index.indrelid = 'events_from_1'::regclass
          AND indexes.relname NOT IN ('events_pkey', 'idx_events_aggregate_version')
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', made.name, 'events_from_1_index_' || made.number);
    END LOOP;
    FOR made IN
        SELECT tgname AS name
        FROM pg_trigger
        WHERE tgrelid = 'events_from_1'::regclass
          AND NOT tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON events_from_1', made.name);
    END LOOP;
    FOREACH definition IN ARRAY hanging LOOP
        EXECUTE definition;
    END LOOP;

    EXECUTE format(
        'ALTER TABLE events ATTACH PARTITION events_from_1 FOR VALUES FROM (MINVALUE) TO (%s)',
        COALESCE(bound::text, 'MAXVALUE')
    );
    ALTER TABLE events_from_1 DROP CONSTRAINT IF EXISTS firefly_bound;
    PERFORM firefly_equip_partition('events_from_1');
    IF bound IS NOT NULL THEN
        PERFORM firefly_add_last_partition(bound);
    END IF;

    -- The mark is proved by the keys, which are in one table.
    EXECUTE regexp_replace(pg_get_functiondef('firefly_high_water_mark()'::regprocedure), '\mFROM events\M', 'FROM firefly_event_keys', 'g');
END;
$do$;

-- A part of a stream: the events from the first to the last version, in the order of the log or backwards, at most so many (NULL for all).
-- First, the keys say between which sequences the events are, and of which aggregate type. The last statement gets these as values, so the
-- server prepares to read only the partitions between them. In one statement with the keys, it would prepare to read every partition. If
-- versions do not ascend with the sequence, all events between the two sequences are returned. A stream has one type; if another program
-- stored two, those of the first and of the last event are returned.
CREATE FUNCTION firefly_stream(wanted uuid, first_version bigint, last_version bigint, most bigint, backwards boolean)
RETURNS SETOF events LANGUAGE plpgsql STABLE ROWS 20 AS $$
DECLARE
    first_sequence bigint;
    last_sequence bigint;
    first_type text;
    last_type text;
BEGIN
    SELECT global_sequence, aggregate_type INTO first_sequence, first_type
    FROM firefly_event_keys
    WHERE aggregate_id = wanted
      AND aggregate_version >= first_version
    ORDER BY aggregate_version ASC
    LIMIT 1;
    SELECT global_sequence, aggregate_type INTO last_sequence, last_type
    FROM firefly_event_keys
    WHERE aggregate_id = wanted
      AND aggregate_version <= last_version
    ORDER BY aggregate_version DESC
    LIMIT 1;
    IF first_sequence IS NULL OR last_sequence IS NULL THEN
        RETURN;
    END IF;
    IF first_sequence > last_sequence THEN
        most := NULL;
    END IF;
    IF backwards THEN
        RETURN QUERY
        SELECT *
        FROM events
        WHERE aggregate_id = wanted
          AND aggregate_type = ANY(ARRAY[first_type, last_type])
          AND global_sequence >= LEAST(first_sequence, last_sequence)
          AND global_sequence <= GREATEST(first_sequence, last_sequence)
          AND aggregate_version BETWEEN first_version AND last_version
        ORDER BY global_sequence DESC
        LIMIT most;
    ELSE
        RETURN QUERY
        SELECT *
        FROM events
        WHERE aggregate_id = wanted
          AND aggregate_type = ANY(ARRAY[first_type, last_type])
          AND global_sequence >= LEAST(first_sequence, last_sequence)
          AND global_sequence <= GREATEST(first_sequence, last_sequence)
          AND aggregate_version BETWEEN first_version AND last_version
        ORDER BY global_sequence ASC
        LIMIT most;
    END IF;
END;
$$;
