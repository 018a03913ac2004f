-- Create the tables of another last partition, while others continue: creating an empty index writes to the disk, too. A lock keeps others from
-- adding partitions meanwhile.
-- $1 its first sequence
LOCK TABLE ONLY events IN ACCESS SHARE MODE;
DO $do$
DECLARE
    partition CONSTANT text := 'events_from_' || $1;
    -- The choice of a partitioned log, or that of a conversion.
    types CONSTANT text[] := COALESCE(
        (SELECT aggregate_types FROM firefly_partitions FOR UPDATE),
        (SELECT aggregate_types FROM firefly_conversions WHERE finished_at IS NULL)
    );
    definition text;
BEGIN
    PERFORM firefly_forget_prepared();
    -- Somebody else may have made it, and added it.
    IF (SELECT relispartition FROM pg_class WHERE oid = to_regclass(quote_ident(partition))) THEN
        RETURN;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', partition);
    EXECUTE format(
        'CREATE TABLE %I (LIKE events INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE)%s',
        partition,
        CASE WHEN types IS NOT NULL THEN ' PARTITION BY LIST (aggregate_type)' END
    );
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS firefly_bound', partition);
    -- It has the owner of events, and gives no rights to others: what they insert here would have no keys.
    PERFORM firefly_take_rights(quote_ident(partition)::regclass, 'events');
    PERFORM firefly_take_rights(quote_ident(partition)::regclass, NULL);
    IF types IS NOT NULL THEN
        PERFORM firefly_add_types(quote_ident(partition)::regclass, types);
    END IF;
    FOR definition IN
        SELECT pg_get_indexdef(indexrelid)
        FROM pg_index
        WHERE indrelid = 'events'::regclass
          AND (
            NOT indisunique
            OR indexrelid = COALESCE(to_regclass('idx_events_sequence_type'), to_regclass('idx_events_global_sequence'))
          )
        ORDER BY indexrelid
    LOOP
        EXECUTE regexp_replace(definition, '^(CREATE( UNIQUE)? INDEX) .*? USING ', format('\1 ON %I USING ', partition));
    END LOOP;
    UPDATE firefly_partitions SET prepared = $1;
END;
$do$;
