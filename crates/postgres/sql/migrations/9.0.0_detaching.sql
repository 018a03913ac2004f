-- Ours: detaching. In a partitioned log, archived events can leave with their partitions. First their keys are written to the tables of
-- archives. They do not count yet: the events are still in the log. Then the partitions are detached, and the keys count.

-- The events that are leaving with their partitions; one row at most.
CREATE TABLE IF NOT EXISTS firefly_leaving (
    id             SMALLINT PRIMARY KEY CHECK (id = 1),
    -- The archive that has them.
    digest         VARCHAR(64) NOT NULL,
    first_sequence BIGINT NOT NULL CHECK (first_sequence > 0),
    last_sequence  BIGINT NOT NULL CHECK (last_sequence >= first_sequence),
    -- The end of the last partition.
    end_sequence   BIGINT NOT NULL CHECK (end_sequence > last_sequence),
    -- Whether the partitions are detached. Then they are dropped, and the keys of their events are deleted.
    detached       BOOLEAN NOT NULL DEFAULT false
);

-- A deleted row of this table stays on the disk as long as a snapshot is in use that is older than its deletion. Empty at other times.
CREATE TABLE IF NOT EXISTS firefly_horizon (
    id SMALLINT NOT NULL
);
-- Otherwise a publication of all tables would refuse the deletion.
ALTER TABLE firefly_horizon REPLICA IDENTITY FULL;

-- What was archived of a stream before its events that are leaving; NULL if nothing was.
ALTER TABLE firefly_archived_streams
    ADD COLUMN IF NOT EXISTS former_version BIGINT,
    ADD COLUMN IF NOT EXISTS former_event_id UUID,
    ADD COLUMN IF NOT EXISTS former_sequence BIGINT,
    ADD COLUMN IF NOT EXISTS former_created_until TIMESTAMPTZ;

-- Whether an archived event with this sequence is still in the log, because its partition is not detached yet. A transaction may see the
-- table above as it was before the partition was detached. So the partition itself decides: writers cannot change it meanwhile.
CREATE OR REPLACE FUNCTION firefly_stays(archived_sequence bigint) RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    first CONSTANT bigint := (
        SELECT first_sequence
        FROM firefly_leaving
        WHERE NOT detached
          AND archived_sequence BETWEEN first_sequence AND last_sequence
    );
BEGIN
    RETURN first IS NOT NULL AND EXISTS (SELECT FROM events WHERE global_sequence = first);
END;
$$;

-- On partitions whose events are leaving, or are copied into another partition.
CREATE OR REPLACE FUNCTION firefly_refuse_leaving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the events in % are being archived, or joined with others', TG_TABLE_NAME
        USING
            ERRCODE = 'object_in_use',
            HINT = 'Wait until that is done. If it was interrupted, retire the file of the archive again, or run maintain.';
END;
$$;

-- Every load of archived events reads this table. It contains no events.
GRANT SELECT ON firefly_leaving TO PUBLIC;
