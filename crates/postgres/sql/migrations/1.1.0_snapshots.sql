-- The source document's version 1.1.0: snapshots.
CREATE TABLE IF NOT EXISTS snapshots (
    snapshot_id    UUID PRIMARY KEY,
    aggregate_id   UUID NOT NULL,
    aggregate_type VARCHAR(255) NOT NULL,
    version        BIGINT NOT NULL,
    snapshot_type  VARCHAR(255) NOT NULL,
    snapshot_data  JSONB NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
ALTER TABLE snapshots ALTER COLUMN created_at SET NOT NULL;
ALTER TABLE snapshots DROP CONSTRAINT IF EXISTS snapshots_aggregate_id_version_key;

DROP INDEX IF EXISTS idx_snapshots_aggregate;
DROP INDEX IF EXISTS idx_snapshots_version;
CREATE UNIQUE INDEX idx_snapshots_version ON snapshots (aggregate_id, version DESC);
CREATE INDEX IF NOT EXISTS idx_snapshots_created_at ON snapshots (created_at);
