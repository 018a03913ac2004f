-- What a partitioned table cannot keep: unique event ids, the optimistic lock, and the way to a stream. One row per event of the log, in the
-- order of the log, in a table that is not partitioned. The triggers of the log write it, whoever writes events.
-- Each statement says what it makes; it is not run again where that is there.
-- unless table firefly_event_keys
CREATE TABLE firefly_event_keys (
    global_sequence   BIGINT NOT NULL PRIMARY KEY,
    event_id          BINARY(16) NOT NULL,
    aggregate_id      BINARY(16) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    aggregate_type    VARCHAR(255) NOT NULL,
    tenant_id         VARCHAR(255),
    UNIQUE KEY idx_events_event_id (event_id),
    UNIQUE KEY idx_events_aggregate_version (aggregate_id, aggregate_version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- How the log is divided; one row at most.
-- unless table firefly_partitions
CREATE TABLE firefly_partitions (
    id               TINYINT NOT NULL PRIMARY KEY,
    events_per_range BIGINT NOT NULL
) ENGINE = InnoDB;

-- The events that are leaving the log with their partition, into the archive with this digest, and where the partition ends; one row at
-- most. Their keys are already in the tables of archives. They count once the row of the first event is gone from the log.
-- unless table firefly_leaving
CREATE TABLE firefly_leaving (
    id             TINYINT NOT NULL PRIMARY KEY,
    digest         VARCHAR(64) NOT NULL,
    first_sequence BIGINT NOT NULL,
    last_sequence  BIGINT NOT NULL,
    end_sequence   BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- What was archived of a stream before its events that are leaving; NULL if nothing was.
-- unless column firefly_archived_streams.former_version
ALTER TABLE firefly_archived_streams
    ADD COLUMN former_version BIGINT,
    ADD COLUMN former_event_id BINARY(16),
    ADD COLUMN former_sequence BIGINT,
    ADD COLUMN former_created_until DATETIME(6);
