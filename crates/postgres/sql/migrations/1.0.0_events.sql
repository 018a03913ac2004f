-- The source document's version 1.0.0: the log of events. Tables that were made by hand are kept, with their rows.
CREATE TABLE IF NOT EXISTS events (
    event_id          UUID PRIMARY KEY,
    aggregate_id      UUID NOT NULL,
    aggregate_type    VARCHAR(255) NOT NULL,
    aggregate_version BIGINT NOT NULL,
    global_sequence   BIGSERIAL NOT NULL,
    event_type        VARCHAR(255) NOT NULL,
    event_data        JSONB NOT NULL,
    metadata          JSONB,
    created_at        TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
ALTER TABLE events ALTER COLUMN global_sequence SET NOT NULL;
ALTER TABLE events ALTER COLUMN created_at SET NOT NULL;

-- One index for each unique key, under the source document's name; a table made by hand may have each twice.
ALTER TABLE events DROP CONSTRAINT IF EXISTS events_aggregate_id_aggregate_version_key;
ALTER TABLE events DROP CONSTRAINT IF EXISTS events_global_sequence_key;
DROP INDEX IF EXISTS idx_events_aggregate_version;
DROP INDEX IF EXISTS idx_events_global_sequence;
DROP INDEX IF EXISTS idx_events_aggregate;
CREATE UNIQUE INDEX idx_events_aggregate_version ON events (aggregate_id, aggregate_version);
CREATE UNIQUE INDEX idx_events_global_sequence ON events (global_sequence);

-- With the sequence behind it, an index gives one type's events in the order of the log, without a sort.
DROP INDEX IF EXISTS idx_events_type;
DROP INDEX IF EXISTS idx_events_created_at;
CREATE INDEX IF NOT EXISTS idx_events_type ON events (event_type, global_sequence);
CREATE INDEX IF NOT EXISTS idx_events_created_at ON events (created_at, global_sequence);
