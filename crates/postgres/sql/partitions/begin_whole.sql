-- Begin to copy a partitioned log into one table, which later becomes the table of events: create it, and create triggers that copy later
-- changes of events. The transaction must have locked events against writers. It gets its other indexes by change_indexes.sql.
CREATE TABLE firefly_whole_events (
    LIKE events INCLUDING COMMENTS INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE
);
ALTER TABLE firefly_whole_events ADD CONSTRAINT whole_events_pkey PRIMARY KEY (event_id);
CREATE UNIQUE INDEX whole_idx_events_aggregate_version ON firefly_whole_events (aggregate_id, aggregate_version);
CREATE UNIQUE INDEX whole_idx_events_global_sequence ON firefly_whole_events (global_sequence);

DO $do$
DECLARE
    columns CONSTANT text := (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
        FROM pg_attribute
        WHERE attrelid = 'events'::regclass
          AND attnum > 0
          AND NOT attisdropped
          AND attgenerated = ''
    );
    corrected CONSTANT text := (
        SELECT string_agg(format('%1$I = excluded.%1$I', attname), ', ' ORDER BY attnum)
        FROM pg_attribute
        WHERE attrelid = 'events'::regclass
          AND attnum > 0
          AND NOT attisdropped
          AND attgenerated = ''
    );
BEGIN
    -- Roles that write events also write the copies. An update may have to insert the copy first.
    PERFORM firefly_take_rights('firefly_whole_events', 'events', 'SELECT, INSERT');

    -- An update of an event that is not copied yet inserts the copy. Then the copying skips the event.
    EXECUTE format(
        $function$
        CREATE FUNCTION firefly_copy_written() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            EXECUTE format(
                'INSERT INTO %%I.firefly_whole_events (%1$s) SELECT %1$s FROM written%%s',
                TG_TABLE_SCHEMA,
                CASE TG_OP WHEN 'UPDATE' THEN ' ON CONFLICT (event_id) DO UPDATE SET %2$s' ELSE '' END
            );
            RETURN NULL;
        END;
        $$;
        CREATE FUNCTION firefly_copy_events(after bigint, until bigint, most bigint) RETURNS bigint LANGUAGE sql AS $$
            WITH copied AS MATERIALIZED (
                SELECT %1$s
                FROM events
                WHERE global_sequence > after
                  AND global_sequence <= until
                ORDER BY global_sequence
                LIMIT most
            ), written AS (
                INSERT INTO firefly_whole_events (%1$s)
                SELECT %1$s
                FROM copied
                ON CONFLICT DO NOTHING
            )
            SELECT CASE WHEN COUNT(*) < most THEN until ELSE MAX(global_sequence) END
            FROM copied
        $$;
        $function$,
        columns,
        corrected
    );
END;
$do$;

-- As in firefly_forget_keys: a copy that is made at the same time must be deleted too.
CREATE FUNCTION firefly_copy_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('firefly_eventstore_preparation'), TG_RELID::integer);
    EXECUTE format(
        'DELETE FROM %I.firefly_whole_events WHERE global_sequence = ANY(ARRAY(SELECT global_sequence FROM deleted))',
        TG_TABLE_SCHEMA
    );
    RETURN NULL;
END;
$$;

CREATE FUNCTION firefly_copy_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('TRUNCATE %I.firefly_whole_events', TG_TABLE_SCHEMA);
    RETURN NULL;
END;
$$;

-- Triggers fire in the order of their names. Those of the keys fire first: the driver knows their constraints.
CREATE TRIGGER trigger_events_whole
AFTER INSERT ON events
REFERENCING NEW TABLE AS written
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_copy_written();
CREATE TRIGGER trigger_events_whole_updated
AFTER UPDATE ON events
REFERENCING NEW TABLE AS written
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_copy_written();
CREATE TRIGGER trigger_events_whole_deleted
AFTER DELETE ON events
REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_copy_deleted();
CREATE TRIGGER trigger_events_whole_truncated
AFTER TRUNCATE ON events
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_copy_truncated();
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_whole;
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_whole_updated;
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_whole_deleted;
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_whole_truncated;
