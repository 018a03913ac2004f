-- Detach the partitions whose events are leaving. From the commit on, their keys count as archived. Everybody waits, but no longer than 30 ms
-- for this lock request and some milliseconds for the rest. Before that, it waits for operations that do not block appends, such as a vacuum.
SET LOCAL lock_timeout = '5s';
DO $do$
DECLARE
    partition regclass;
BEGIN
    LOCK TABLE ONLY events IN SHARE UPDATE EXCLUSIVE MODE;
    FOR partition IN
        SELECT ranges.partition
        FROM firefly_ranges() AS ranges
        JOIN firefly_leaving AS leaving
            ON ranges.end_sequence > leaving.first_sequence
            AND ranges.end_sequence <= leaving.end_sequence
    LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', partition);
    END LOOP;
END;
$do$;
SET LOCAL lock_timeout = '30ms';
LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
DO $do$
DECLARE
    leaving record;
    range record;
    lower text;
    name text;
BEGIN
    SELECT * INTO STRICT leaving FROM firefly_leaving WHERE NOT detached;
    -- Somebody may have locked a partition alone.
    FOR range IN
        SELECT ranges.partition
        FROM firefly_ranges() AS ranges
        WHERE ranges.end_sequence > leaving.first_sequence
          AND ranges.end_sequence <= leaving.end_sequence
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
        WHERE ranges.end_sequence > leaving.first_sequence
          AND ranges.end_sequence <= leaving.end_sequence
        ORDER BY ranges.end_sequence
    LOOP
        IF name IS NULL THEN
            name := range.relname;
            lower := COALESCE(range.first_sequence::text, 'MINVALUE');
        END IF;
        EXECUTE format('ALTER TABLE events DETACH PARTITION %s', range.partition);
        EXECUTE format('ALTER TABLE %s RENAME TO %I', range.partition, 'firefly_left_' || range.end_sequence);
    END LOOP;
    EXECUTE format('ALTER TABLE firefly_emptied_events RENAME TO %I', name);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, lower, leaving.end_sequence);
    PERFORM firefly_equip_partition(quote_ident(name)::regclass);
    UPDATE firefly_leaving SET detached = true;
END;
$do$;
