-- The source document's V4: who, for whom and why; size and checksum; indexes and views.
ALTER TABLE events ADD COLUMN updated_at TEXT CHECK (length(updated_at) = 27);
ALTER TABLE events ADD COLUMN created_by TEXT CHECK (length(created_by) BETWEEN 1 AND 255);
ALTER TABLE events ADD COLUMN tenant_id TEXT CHECK (length(tenant_id) BETWEEN 1 AND 255);
ALTER TABLE events ADD COLUMN correlation_id TEXT CHECK (length(correlation_id) BETWEEN 1 AND 255);
ALTER TABLE events ADD COLUMN causation_id TEXT CHECK (length(causation_id) BETWEEN 1 AND 255);
ALTER TABLE events ADD COLUMN checksum TEXT CHECK (length(checksum) = 64);
-- Computed when it is read, from the length that the row keeps anyway: always true, and free when appending.
ALTER TABLE events ADD COLUMN event_size_bytes INTEGER GENERATED ALWAYS AS (length(CAST(event_data AS BLOB))) VIRTUAL;

CREATE INDEX idx_events_correlation_id ON events (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX idx_events_causation_id ON events (causation_id) WHERE causation_id IS NOT NULL;
CREATE INDEX idx_events_tenant_id ON events (tenant_id) WHERE tenant_id IS NOT NULL;
CREATE INDEX idx_events_created_by ON events (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_events_aggregate_type_created ON events (aggregate_type, created_at DESC);
CREATE INDEX idx_events_type_created ON events (event_type, created_at DESC);
CREATE INDEX idx_events_tenant_aggregate ON events (tenant_id, aggregate_id) WHERE tenant_id IS NOT NULL;

CREATE TRIGGER trigger_events_updated_at
AFTER UPDATE ON events
WHEN NEW.updated_at IS OLD.updated_at
BEGIN
    UPDATE events
    SET updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
    WHERE global_sequence = NEW.global_sequence;
END;

CREATE VIEW v_event_statistics AS
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

CREATE VIEW v_recent_events AS
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
FROM events
WHERE created_at > strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-24 hours')
ORDER BY created_at DESC;

-- A view, always up to date, where PostgreSQL has a materialized one.
CREATE VIEW mv_aggregate_summary AS
SELECT
    aggregate_id,
    aggregate_type,
    MAX(aggregate_version) AS current_version,
    COUNT(*) AS total_events,
    MIN(created_at) AS created_at,
    MAX(created_at) AS last_modified_at,
    SUM(event_size_bytes) AS total_size_bytes,
    tenant_id
FROM events
GROUP BY aggregate_id;
