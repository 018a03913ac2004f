-- Ours: archives. Where parts of the log went, and the keys of the events that are no longer in it.
-- unless table firefly_archives
CREATE TABLE firefly_archives (
    digest           VARCHAR(64) NOT NULL PRIMARY KEY,
    first_sequence   BIGINT NOT NULL,
    last_sequence    BIGINT NOT NULL,
    events           BIGINT NOT NULL,
    first_created_at DATETIME(6) NOT NULL,
    last_created_at  DATETIME(6) NOT NULL,
    location         VARCHAR(2000) NOT NULL,
    archived_at      DATETIME(6) NOT NULL,
    log_events       BIGINT,
    log_digest       VARCHAR(64),
    retired          BOOLEAN NOT NULL DEFAULT FALSE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- The versions of these aggregates from 1 to this one are archived; those that follow are events.
-- unless table firefly_archived_streams
CREATE TABLE firefly_archived_streams (
    aggregate_id   BINARY(16) NOT NULL PRIMARY KEY,
    aggregate_type VARCHAR(255) NOT NULL,
    tenant_id      VARCHAR(255),
    version        BIGINT NOT NULL,
    last_event_id  BINARY(16) NOT NULL,
    first_sequence BIGINT NOT NULL,
    last_sequence  BIGINT NOT NULL,
    created_until  DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- The keys of archived events. An event is in this table or in events, never in both.
-- unless table firefly_archived_events
CREATE TABLE firefly_archived_events (
    global_sequence   BIGINT NOT NULL PRIMARY KEY,
    event_id          BINARY(16) NOT NULL,
    aggregate_id      BINARY(16) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    fingerprint       BINARY(32) NOT NULL,
    UNIQUE KEY idx_archived_events_event_id (event_id),
    UNIQUE KEY idx_archived_events_version (aggregate_id, aggregate_version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- One row. Whoever moves events out of the log, or back, holds it, so that one does at a time. The number grows whenever events came
-- back: a reader that looked into the log before, and at the archives after, found them in neither.
-- unless table firefly_moves
CREATE TABLE firefly_moves (
    id       TINYINT NOT NULL PRIMARY KEY,
    attached BIGINT NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO firefly_moves (id, attached) VALUES (1, 0);

-- Whether events are archived. An append learns it from the gate that it holds, and looks into the tables above only if there are. Whoever
-- moves events holds all gates, so that no append is at work meanwhile.
-- unless column firefly_gate.has_archived
ALTER TABLE firefly_gate
    ADD COLUMN has_archived BOOLEAN NOT NULL DEFAULT FALSE;
