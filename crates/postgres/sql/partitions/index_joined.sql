-- Create the indexes of the table into which partitions are joined, unless it has them.
DO $do$
DECLARE
    definition text;
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indrelid = 'firefly_joined_events'::regclass) THEN
        RETURN;
    END IF;
    FOR definition IN
        SELECT pg_get_indexdef(indexrelid)
        FROM pg_index
        WHERE indrelid = 'events'::regclass
    LOOP
        EXECUTE regexp_replace(definition, '^(CREATE( UNIQUE)? INDEX) .*? USING ', '\1 ON firefly_joined_events USING ');
    END LOOP;
END;
$do$;
