-- Refuse changes of the events in adjacent partitions. New events go to other partitions, so appends do not wait.
-- $1 and $2 the partitions that end after the first sequence, and not after the second one
DO $do$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN
        SELECT ranges.partition
        FROM firefly_ranges() AS ranges
        WHERE ranges.end_sequence > $1
          AND ranges.end_sequence <= $2
    LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', partition);
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = partition AND tgname = 'trigger_events_leaving') THEN
            EXECUTE format(
                'CREATE TRIGGER trigger_events_leaving BEFORE INSERT OR UPDATE OR DELETE ON %s
                 FOR EACH ROW EXECUTE FUNCTION firefly_refuse_leaving()',
                partition
            );
            EXECUTE format(
                'CREATE TRIGGER trigger_events_leaving_truncated BEFORE TRUNCATE ON %s
                 FOR EACH STATEMENT EXECUTE FUNCTION firefly_refuse_leaving()',
                partition
            );
        END IF;
        -- Also where session_replication_role turns ordinary triggers off.
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER trigger_events_leaving', partition);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER trigger_events_leaving_truncated', partition);
    END LOOP;
END;
$do$;
