-- Allow changes of the events in adjacent partitions again; see freeze_partitions.sql.
-- $1 and $2 the partitions that end after the first sequence, and not after the second one
DO $do$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN
        SELECT ranges.partition
        FROM firefly_ranges() AS ranges
        JOIN pg_trigger ON tgrelid = ranges.partition AND tgname = 'trigger_events_leaving'
        WHERE ranges.end_sequence > $1
          AND ranges.end_sequence <= $2
    LOOP
        -- Disabled, not dropped: readers need not wait.
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER trigger_events_leaving', partition);
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER trigger_events_leaving_truncated', partition);
    END LOOP;
END;
$do$;
