-- The source document's V4: who, for whom and why; size and checksum; indexes and views.
-- unless column events.updated_at
ALTER TABLE events
    ADD COLUMN updated_at DATETIME(6) NULL ON UPDATE CURRENT_TIMESTAMP(6),
    ADD COLUMN created_by VARCHAR(255),
    ADD COLUMN tenant_id VARCHAR(255),
    ADD COLUMN correlation_id VARCHAR(255),
    ADD COLUMN causation_id VARCHAR(255),
    -- Bytes, not characters, whoever writes.
    ADD COLUMN event_size_bytes INT GENERATED ALWAYS AS (LENGTH(event_data)) STORED,
    ADD COLUMN checksum VARCHAR(64),
    ADD CONSTRAINT events_aggregate_version_check CHECK (aggregate_version > 0),
    ADD CONSTRAINT events_event_type_check CHECK (event_type <> ''),
    ADD CONSTRAINT events_aggregate_type_check CHECK (aggregate_type <> '');

-- unless index events.idx_events_correlation_id
CREATE INDEX idx_events_correlation_id ON events (correlation_id);
-- unless index events.idx_events_causation_id
CREATE INDEX idx_events_causation_id ON events (causation_id);
-- unless index events.idx_events_tenant_id
CREATE INDEX idx_events_tenant_id ON events (tenant_id);
-- unless index events.idx_events_created_by
CREATE INDEX idx_events_created_by ON events (created_by);
-- Ascending, so that either direction of time has the sequences in its own direction too.
-- unless index events.idx_events_aggregate_type_created
CREATE INDEX idx_events_aggregate_type_created ON events (aggregate_type, created_at);
-- unless index events.idx_events_type_created
CREATE INDEX idx_events_type_created ON events (event_type, created_at);
-- unless index events.idx_events_tenant_aggregate
CREATE INDEX idx_events_tenant_aggregate ON events (tenant_id, aggregate_id);

-- unless view v_event_statistics
CREATE SQL SECURITY INVOKER VIEW v_event_statistics AS
SELECT
    aggregate_type,
    event_type,
    COUNT(*) AS event_count,
    AVG(event_size_bytes) AS avg_size_bytes,
    MAX(event_size_bytes) AS max_size_bytes,
    MIN(created_at) AS first_event_at,
    MAX(created_at) AS last_event_at,
    COUNT(DISTINCT aggregate_id) AS unique_aggregates
FROM events
GROUP BY aggregate_type, event_type;

-- The events with readable ids, for people; programs find an aggregate faster in the table.
-- unless view v_events
CREATE SQL SECURITY INVOKER VIEW v_events AS
SELECT
    INSERT(INSERT(INSERT(INSERT(LOWER(HEX(event_id)), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-') AS event_id,
    INSERT(INSERT(INSERT(INSERT(LOWER(HEX(aggregate_id)), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-') AS aggregate_id,
    aggregate_type,
    aggregate_version,
    global_sequence,
    event_type,
    event_data,
    metadata,
    created_at,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    event_size_bytes,
    checksum
FROM events;

-- unless view v_recent_events
CREATE SQL SECURITY INVOKER VIEW v_recent_events AS
SELECT
    event_id,
    aggregate_id,
    aggregate_type,
    event_type,
    aggregate_version,
    global_sequence,
    created_at,
    correlation_id,
    tenant_id
FROM v_events
WHERE created_at > UTC_TIMESTAMP(6) - INTERVAL 24 HOUR
ORDER BY created_at DESC;

-- A table where PostgreSQL has a materialized view: it is as of its last refresh.
-- unless table mv_aggregate_summary
CREATE TABLE mv_aggregate_summary (
    aggregate_id     BINARY(16) NOT NULL,
    aggregate_type   VARCHAR(255) NOT NULL,
    current_version  BIGINT NOT NULL,
    total_events     BIGINT NOT NULL,
    created_at       DATETIME(6) NOT NULL,
    last_modified_at DATETIME(6) NOT NULL,
    total_size_bytes BIGINT NOT NULL,
    tenant_id        VARCHAR(255),
    UNIQUE KEY idx_mv_aggregate_summary_pk (aggregate_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
