-- Put another table in the place of adjacent partitions, which keep their rows. Everybody waits, but no longer than 30 ms for this lock request
-- and some milliseconds for the rest. Before that, it waits for operations that do not block appends, such as a vacuum.
-- $1 and $2 the partitions that end after the first sequence, and not after the second one · $3 the name of the table
SET LOCAL lock_timeout = '5s';
DO $do$
DECLARE
    partition regclass;
BEGIN
    LOCK TABLE ONLY events IN SHARE UPDATE EXCLUSIVE MODE;
    FOR partition IN
        SELECT ranges.partition
        FROM firefly_ranges() AS ranges
        WHERE ranges.end_sequence > $1
          AND ranges.end_sequence <= $2
    LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', partition);
    END LOOP;
END;
$do$;
SET LOCAL lock_timeout = '30ms';
LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
DO $do$
DECLARE
    range record;
    lower text;
    name text;
BEGIN
    -- Somebody may have locked a partition alone.
    FOR range IN
        SELECT ranges.partition
        FROM firefly_ranges() AS ranges
        WHERE ranges.end_sequence > $1
          AND ranges.end_sequence <= $2
    LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE NOWAIT', range.partition);
    END LOOP;
    FOR range IN
        SELECT
            ranges.partition,
            ranges.first_sequence,
            ranges.end_sequence,
            relname
        FROM firefly_ranges() AS ranges
        JOIN pg_class ON oid = ranges.partition
        WHERE ranges.end_sequence > $1
          AND ranges.end_sequence <= $2
        ORDER BY ranges.end_sequence
    LOOP
        IF name IS NULL THEN
            name := range.relname;
            lower := COALESCE(range.first_sequence::text, 'MINVALUE');
        END IF;
        EXECUTE format('ALTER TABLE events DETACH PARTITION %s', range.partition);
        EXECUTE format('ALTER TABLE %s RENAME TO %I', range.partition, 'firefly_left_' || range.end_sequence);
    END LOOP;
    EXECUTE format('ALTER TABLE $3 RENAME TO %I', name);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, lower, $2);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS firefly_bound', name);
    PERFORM firefly_equip_partition(quote_ident(name)::regclass);
END;
$do$;
