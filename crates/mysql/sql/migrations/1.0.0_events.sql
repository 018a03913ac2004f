-- The source document's version 1.0.0: the log of events. Ids are binary and the rows lie in the order of the log, which loads
-- streams several times faster than text ids; the view v_events shows the ids readable. {collation} is the server's collation
-- that compares characters by their code points and trailing spaces too.
-- Each statement says what it makes; it is not run again where that is there.
-- unless table events
CREATE TABLE events (
    global_sequence   BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id          BINARY(16) NOT NULL,
    aggregate_id      BINARY(16) NOT NULL,
    aggregate_type    VARCHAR(255) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    event_type        VARCHAR(255) NOT NULL,
    event_data        JSON NOT NULL,
    metadata          JSON,
    created_at        DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    UNIQUE KEY idx_events_event_id (event_id),
    UNIQUE KEY idx_events_aggregate_version (aggregate_id, aggregate_version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- Each index ends with the table's primary key, so that it gives one type's events in the order of the log, without a sort.
-- unless index events.idx_events_type
CREATE INDEX idx_events_type ON events (event_type);
-- unless index events.idx_events_created_at
CREATE INDEX idx_events_created_at ON events (created_at);
