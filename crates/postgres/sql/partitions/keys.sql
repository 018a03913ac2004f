-- The keys that a partitioned table cannot have: unique event ids, the optimistic lock, and the index of streams. One row per event of the
-- log, in a table that is not partitioned. From now on, triggers write the keys of events in the statement that writes the events. If the
-- table of events already has rows, their keys are added before events_partitioned.sql runs.
CREATE TABLE firefly_event_keys (
    event_id          UUID PRIMARY KEY,
    aggregate_id      UUID NOT NULL,
    aggregate_version BIGINT NOT NULL,
    global_sequence   BIGINT NOT NULL,
    aggregate_type    VARCHAR(255) NOT NULL,
    tenant_id         VARCHAR(255)
);
CREATE UNIQUE INDEX idx_event_keys_aggregate_version ON firefly_event_keys (aggregate_id, aggregate_version);
CREATE UNIQUE INDEX idx_event_keys_global_sequence ON firefly_event_keys (global_sequence);

-- How the log is divided; one row at most.
CREATE TABLE firefly_partitions (
    id               SMALLINT PRIMARY KEY CHECK (id = 1),
    -- How many sequences a new partition has; NULL if each month gets one, or types are chosen.
    events_per_range BIGINT CHECK (events_per_range > 0),
    -- The aggregate types that have tables of their own within a new partition; NULL if it is one table.
    aggregate_types  TEXT[],
    -- When the last partition was added.
    begun_at         TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- The partitions that are being joined: those that end after the first of these sequences, and not after the second one.
    join_from        BIGINT,
    join_until       BIGINT CHECK (join_until > join_from),
    -- The first sequence of the partition whose tables are being prepared; NULL if there is none.
    prepared         BIGINT
);

-- If the search path leads to the schema, the statement does not name it, so that it is planned once for each connection. A statement that is
-- put together is planned each time.
CREATE FUNCTION firefly_keep_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_schema() = TG_TABLE_SCHEMA THEN
        INSERT INTO firefly_event_keys (event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id)
        SELECT event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id
        FROM written;
    ELSE
        EXECUTE format(
            'INSERT INTO %I.firefly_event_keys (event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id)
             SELECT event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id
             FROM written',
            TG_TABLE_SCHEMA
        );
    END IF;
    RETURN NULL;
END;
$$;

-- A conversion prepares keys or copies of existing events (lock_preparation.sql). If an event is deleted at the same time, its key or copy must
-- be deleted, too. So preparing and deleting exclude each other.
CREATE FUNCTION firefly_forget_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('firefly_eventstore_preparation'), TG_RELID::integer);
    EXECUTE format(
        'DELETE FROM %I.firefly_event_keys WHERE global_sequence = ANY(ARRAY(SELECT global_sequence FROM deleted))',
        TG_TABLE_SCHEMA
    );
    RETURN NULL;
END;
$$;

CREATE FUNCTION firefly_correct_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'DELETE FROM %I.firefly_event_keys WHERE global_sequence = ANY(ARRAY(
             SELECT global_sequence
             FROM (
                 SELECT event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id FROM replaced
                 EXCEPT
                 SELECT event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id FROM written
             ) AS changed
         ))',
        TG_TABLE_SCHEMA
    );
    EXECUTE format(
        'INSERT INTO %I.firefly_event_keys (event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id)
         SELECT event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id FROM written
         EXCEPT
         SELECT event_id, aggregate_id, aggregate_version, global_sequence, aggregate_type, tenant_id FROM replaced',
        TG_TABLE_SCHEMA
    );
    RETURN NULL;
END;
$$;

CREATE FUNCTION firefly_forget_all_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('TRUNCATE %I.firefly_event_keys', TG_TABLE_SCHEMA);
    RETURN NULL;
END;
$$;

CREATE TRIGGER trigger_events_keys
AFTER INSERT ON events
REFERENCING NEW TABLE AS written
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_keep_keys();
CREATE TRIGGER trigger_events_keys_deleted
AFTER DELETE ON events
REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_forget_keys();
CREATE TRIGGER trigger_events_keys_updated
AFTER UPDATE ON events
REFERENCING OLD TABLE AS replaced NEW TABLE AS written
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_correct_keys();
CREATE TRIGGER trigger_events_keys_truncated
AFTER TRUNCATE ON events
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_forget_all_keys();
-- Also where session_replication_role turns ordinary triggers off.
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_keys;
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_keys_deleted;
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_keys_updated;
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_keys_truncated;

-- A statement that names a partition is refused. It would not fire the triggers of the partitioned table, which announce appends and write
-- keys.
CREATE FUNCTION firefly_refuse_partition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is a partition: write to events', TG_TABLE_NAME USING ERRCODE = 'wrong_object_type';
END;
$$;

-- What each partition, and each of its tables if it is divided by aggregate type, needs that it does not get from the partitioned table.
CREATE FUNCTION firefly_equip_partition(partition regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT
            parts.relid AS name,
            indexes.relname AS key
        FROM pg_partition_tree(partition) AS parts
        JOIN pg_index ON pg_index.indrelid = parts.relid
        JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
        WHERE pg_partition_root(indexes.oid) = 'idx_events_global_sequence'::regclass
    LOOP
        EXECUTE format(
            'CREATE TRIGGER trigger_events_refuse BEFORE INSERT OR UPDATE OR DELETE ON %s
             FOR EACH STATEMENT EXECUTE FUNCTION firefly_refuse_partition()',
            part.name
        );
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER trigger_events_refuse', part.name);
        -- A role whose rights on events are revoked later must not keep rights on a partition.
        PERFORM firefly_take_rights(part.name, NULL);
        -- Without a primary key, whoever replicates the table needs to be told what identifies a row.
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', part.name, part.key);
    END LOOP;
END;
$$;

-- Divides a new partition by aggregate type: a table for each of these types, and one for all others. Names are short whatever the types are,
-- and contain letters and digits of the type.
CREATE FUNCTION firefly_add_types(partition regclass, types text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name CONSTANT text := (SELECT relname FROM pg_class WHERE oid = partition);
    part record;
BEGIN
    FOR part IN
        SELECT
            format('FOR VALUES IN (%L)', type) AS bound,
            concat_ws(
                '_',
                name,
                number,
                NULLIF(trim('_' FROM left(regexp_replace(lower(type COLLATE "C"), '[^a-z0-9]+', '_', 'g'), 24)), '')
            ) AS name
        FROM unnest(types) WITH ORDINALITY AS numbered (type, number)
        UNION ALL
        SELECT
            'DEFAULT',
            name || '_others'
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %s %s', part.name, partition, part.bound);
        PERFORM firefly_take_rights(quote_ident(part.name)::regclass, partition);
    END LOOP;
END;
$$;

-- Drops the tables that were prepared for a partition that was not added.
CREATE FUNCTION firefly_forget_prepared() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    partition CONSTANT text := 'events_from_' || (SELECT prepared FROM firefly_partitions);
BEGIN
    IF NOT (SELECT relispartition FROM pg_class WHERE oid = to_regclass(quote_ident(partition))) THEN
        EXECUTE format('DROP TABLE %I', partition);
    END IF;
    UPDATE firefly_partitions SET prepared = NULL WHERE prepared IS NOT NULL;
END;
$$;

-- Adds the partition that takes every sequence from this one on, so that there is a partition for each append. NULL stands for the least
-- sequence.
CREATE FUNCTION firefly_add_last_partition(first_sequence bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    partition CONSTANT text := 'events_from_' || COALESCE(first_sequence, 1);
    bounds CONSTANT text := format('FOR VALUES FROM (%s) TO (MAXVALUE)', COALESCE(first_sequence::text, 'MINVALUE'));
    types CONSTANT text[] := (SELECT aggregate_types FROM firefly_partitions);
BEGIN
    IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
        -- It was prepared.
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I %s', partition, bounds);
    ELSIF types IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF events %s', partition, bounds);
    ELSE
        EXECUTE format('CREATE TABLE %I PARTITION OF events %s PARTITION BY LIST (aggregate_type)', partition, bounds);
        PERFORM firefly_add_types(quote_ident(partition)::regclass, types);
    END IF;
    PERFORM firefly_equip_partition(partition::regclass);
END;
$$;

-- The partitions in their order. Each has the sequences from the first one, NULL if it takes all earlier ones, to before the end, NULL if it
-- takes all later ones. The lock keeps others from splitting, joining or dropping partitions while the catalogs are read. Otherwise this could
-- see a part of their work.
CREATE FUNCTION firefly_ranges() RETURNS TABLE (partition regclass, first_sequence bigint, end_sequence bigint) LANGUAGE plpgsql ROWS 12 AS $$
BEGIN
    LOCK TABLE events IN ACCESS SHARE MODE;
    RETURN QUERY
    SELECT
        oid::regclass,
        (regexp_match(pg_get_expr(relpartbound, oid), 'FROM \(''?(-?[0-9]+)'))[1]::bigint,
        (regexp_match(pg_get_expr(relpartbound, oid), 'TO \(''?(-?[0-9]+)'))[1]::bigint
    FROM pg_class
    JOIN pg_inherits ON inhrelid = oid
    WHERE inhparent = 'events'::regclass
    ORDER BY 3 NULLS LAST;
END;
$$;

-- Ends the last partition before this sequence, which becomes the first of a new last partition. NULL stands for the first sequence that is
-- not allocated yet. Readers and writers of events wait for this function, and it waits for them: set a lock_timeout. Returns false if the
-- last partition begins there or later, if the sequence was allocated already, or if expected is not the last partition any more, because
-- another session split it. Without a valid check named firefly_bound, the rows of the last partition are read meanwhile.
CREATE FUNCTION firefly_split_last_partition(cut bigint, expected regclass DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    last record;
    allocated bigint;
BEGIN
    -- The partitioned table first, as everybody locks it first: otherwise readers would deadlock with this.
    LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
    SELECT * INTO STRICT last FROM firefly_ranges() WHERE end_sequence IS NULL;
    -- Whoever allocates a sequence for an event locks the table first.
    allocated := GREATEST(
        firefly_last_allocated('events_global_sequence_seq'),
        (SELECT MAX(global_sequence) FROM firefly_event_keys)
    );
    cut := COALESCE(cut, allocated + 1);
    IF last.partition <> expected OR cut <= GREATEST(last.first_sequence, allocated) THEN
        RETURN false;
    END IF;
    PERFORM firefly_bound_partition(last.partition, last.first_sequence, cut);
    PERFORM firefly_add_last_partition(cut);
    PERFORM firefly_forget_prepared();
    UPDATE firefly_partitions SET begun_at = clock_timestamp();
    RETURN true;
END;
$$;

-- Gives a partition another range.
CREATE FUNCTION firefly_bound_partition(partition regclass, first_sequence bigint, end_sequence bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE events DETACH PARTITION %s', partition);
    EXECUTE format(
        'ALTER TABLE events ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
        partition,
        COALESCE(first_sequence::text, 'MINVALUE'),
        end_sequence
    );
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = partition AND conname = 'firefly_bound') THEN
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT firefly_bound', partition);
    END IF;
END;
$$;

-- Makes one partition of empty ones that follow each other. They are before the end of the log, so their events are archived. Returns how many
-- partitions are gone. Readers and writers of events wait for this function, and it waits for them: set a lock_timeout.
CREATE FUNCTION firefly_merge_empty_partitions() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    range record;
    kept record;
    kept_until bigint;
    has_events boolean;
    merged bigint := 0;
BEGIN
    LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
    FOR range IN
        SELECT *, end_sequence <= firefly_last_allocated('events_global_sequence_seq') AS is_past
        FROM firefly_ranges()
    LOOP
        has_events := true;
        IF range.is_past AND pg_relation_size(range.partition) = 0 THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %s)', range.partition) INTO has_events;
        END IF;
        IF has_events THEN
            IF kept_until IS NOT NULL THEN
                PERFORM firefly_bound_partition(kept.partition, kept.first_sequence, kept_until);
            END IF;
            kept := NULL;
            kept_until := NULL;
        ELSIF kept IS NULL THEN
            kept := range;
        ELSE
            EXECUTE format('DROP TABLE %s', range.partition);
            kept_until := range.end_sequence;
            merged := merged + 1;
        END IF;
    END LOOP;
    RETURN merged;
END;
$$;

-- Give the keys the rights of events. An update of events deletes and inserts keys.
SELECT firefly_take_rights('firefly_event_keys', 'events', 'INSERT, DELETE');
