-- Ours: one snapshot per form at each version, so that two versions of a program do not replace each other's.
DROP INDEX IF EXISTS idx_snapshots_version;
CREATE UNIQUE INDEX idx_snapshots_version ON snapshots (aggregate_id, version DESC, snapshot_type DESC);
