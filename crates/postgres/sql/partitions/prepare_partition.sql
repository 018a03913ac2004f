-- Create the table of the second partition, while others continue: creating an empty index writes to the disk, too.
-- $1 its first sequence
DO $do$
DECLARE
    partition CONSTANT text := 'events_from_' || $1;
    definition text;
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', partition);
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE)', partition);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS firefly_bound', partition);
    PERFORM firefly_take_rights(quote_ident(partition)::regclass, 'events');
    FOR definition IN
        SELECT pg_get_indexdef(indexrelid)
        FROM pg_index
        WHERE indrelid = 'events'::regclass
          AND (NOT indisunique OR indexrelid = 'idx_events_global_sequence'::regclass)
    LOOP
        EXECUTE regexp_replace(definition, '^(CREATE( UNIQUE)? INDEX) .*? USING ', format('\1 ON %I USING ', partition));
    END LOOP;
END;
$do$;
