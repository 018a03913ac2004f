-- Make the table of events the first partition of a partitioned one that takes its name and everything that hangs on it: columns, checks,
-- indexes, triggers, privileges, views and the sequence. Its keys are in firefly_event_keys before. Within one transaction that has locked
-- the table; with a valid check that no sequence is beyond the bound, no row is looked at.
-- $1 the first sequence of the second partition
DO $do$
DECLARE
    bound CONSTANT bigint := $1;
    made record;
    definition text;
BEGIN
    ALTER TABLE events RENAME TO events_from_1;
    CREATE TABLE events (
        LIKE events_from_1 INCLUDING COMMENTS INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE
    ) PARTITION BY RANGE (global_sequence);
    EXECUTE format(
        'ALTER TABLE events OWNER TO %I',
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'events_from_1'::regclass)
    );
    ALTER SEQUENCE events_global_sequence_seq OWNED BY events.global_sequence;

    -- These keys are those of firefly_event_keys from here on.
    ALTER TABLE events_from_1 DROP CONSTRAINT events_pkey;
    DROP INDEX idx_events_aggregate_version;
    FOR made IN
        SELECT
            indexes.relname AS name,
            pg_get_indexdef(indexes.oid) AS definition,
            row_number() OVER (ORDER BY indexes.relname) AS number
        FROM pg_index
        JOIN pg_class AS indexes ON indexes.oid = pg_index.indexrelid
        WHERE pg_index.indrelid = 'events_from_1'::regclass
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', made.name, 'events_from_1_index_' || made.number);
        EXECUTE regexp_replace(made.definition, ' ON .*?events_from_1 ', ' ON events ');
    END LOOP;

    FOR made IN
        SELECT
            tgname AS name,
            tgenabled AS enabled,
            pg_get_triggerdef(oid) AS definition
        FROM pg_trigger
        WHERE tgrelid = 'events_from_1'::regclass
          AND NOT tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON events_from_1', made.name);
        EXECUTE regexp_replace(made.definition, ' ON .*?events_from_1 ', ' ON events ');
        EXECUTE format(
            'ALTER TABLE events %s TRIGGER %I',
            CASE made.enabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE' END,
            made.name
        );
    END LOOP;

    EXECUTE format('ALTER TABLE events ATTACH PARTITION events_from_1 FOR VALUES FROM (MINVALUE) TO (%s)', bound);
    PERFORM firefly_equip_partition('events_from_1');
    PERFORM firefly_add_last_partition(bound);

    FOR made IN
        SELECT
            acl.privilege_type,
            acl.is_grantable,
            CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee
        FROM pg_class
        CROSS JOIN LATERAL aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'events_from_1'::regclass
    LOOP
        EXECUTE format(
            'GRANT %s ON events TO %s%s',
            made.privilege_type,
            made.grantee,
            CASE WHEN made.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
        );
    END LOOP;

    FOR made IN
        SELECT relname AS name
        FROM pg_class
        WHERE relkind = 'v'
          AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'events'::regclass)
          AND relname IN ('v_event_statistics', 'v_recent_events')
    LOOP
        definition := replace(pg_get_viewdef(made.name::regclass), 'events_from_1', 'events');
        EXECUTE format('CREATE OR REPLACE VIEW %I AS %s', made.name, definition);
    END LOOP;

    -- The mark is proved by the keys, which are in one table.
    EXECUTE regexp_replace(pg_get_functiondef('firefly_high_water_mark()'::regprocedure), '\mFROM events\M', 'FROM firefly_event_keys', 'g');
END;
$do$;
