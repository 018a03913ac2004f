-- Let the events that were leaving stay in the log: allow changes again, and delete the keys that were written ahead.
DO $do$
DECLARE
    leaving record;
    partition regclass;
BEGIN
    SELECT * INTO STRICT leaving FROM firefly_leaving WHERE NOT detached;
    FOR partition IN
        SELECT ranges.partition
        FROM firefly_ranges() AS ranges
        JOIN pg_trigger ON tgrelid = ranges.partition AND tgname = 'trigger_events_leaving'
        WHERE ranges.end_sequence > leaving.first_sequence
          AND ranges.end_sequence <= leaving.end_sequence
    LOOP
        -- Disabled, not dropped: readers need not wait.
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER trigger_events_leaving', partition);
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER trigger_events_leaving_truncated', partition);
    END LOOP;
    DELETE FROM firefly_archived_events
    WHERE global_sequence BETWEEN leaving.first_sequence AND leaving.last_sequence;
    DELETE FROM firefly_archived_streams
    WHERE last_sequence BETWEEN leaving.first_sequence AND leaving.last_sequence
      AND former_version IS NULL;
    UPDATE firefly_archived_streams
    SET
        version = former_version,
        last_event_id = former_event_id,
        last_sequence = former_sequence,
        created_until = former_created_until
    WHERE last_sequence BETWEEN leaving.first_sequence AND leaving.last_sequence;
    DELETE FROM firefly_leaving;
END;
$do$;
DROP TABLE IF EXISTS firefly_emptied_events;
