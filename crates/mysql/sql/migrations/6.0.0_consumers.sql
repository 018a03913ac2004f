-- Ours: consumers. What follows the log keeps here how far it came, who of a group holds which slot, and the events it put aside.
-- unless table firefly_consumers
CREATE TABLE firefly_consumers (
    name             VARCHAR(255) NOT NULL,
    slot             INT NOT NULL,
    position         BIGINT NOT NULL DEFAULT 0,
    token            BIGINT NOT NULL DEFAULT 0,
    holder           BINARY(16),
    lease_until      DATETIME(6),
    state            VARCHAR(16) NOT NULL DEFAULT 'running',
    failing_sequence BIGINT,
    attempts         BIGINT NOT NULL DEFAULT 0,
    last_error       TEXT,
    definition       VARCHAR(64),
    updated_at       DATETIME(6) NOT NULL,
    PRIMARY KEY (name, slot)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- unless table firefly_consumer_members
CREATE TABLE firefly_consumer_members (
    name    VARCHAR(255) NOT NULL,
    holder  BINARY(16) NOT NULL,
    seen_at DATETIME(6) NOT NULL,
    PRIMARY KEY (name, holder)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};

-- unless table firefly_parked_events
CREATE TABLE firefly_parked_events (
    name            VARCHAR(255) NOT NULL,
    global_sequence BIGINT NOT NULL,
    aggregate_id    BINARY(16) NOT NULL,
    attempts        BIGINT NOT NULL,
    reason          TEXT NOT NULL,
    parked_at       DATETIME(6) NOT NULL,
    replay          BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (name, global_sequence),
    INDEX idx_parked_events_aggregate (name, aggregate_id, global_sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
