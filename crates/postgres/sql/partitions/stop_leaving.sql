-- Let the events that were leaving stay in the log: delete the keys that prepare_leaving.sql stored. Before: release_partitions.sql.
DO $do$
DECLARE
    leaving record;
BEGIN
    SELECT * INTO STRICT leaving FROM firefly_leaving WHERE NOT detached;
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
