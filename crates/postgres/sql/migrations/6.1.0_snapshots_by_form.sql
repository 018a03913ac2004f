-- Ours: one snapshot per form at each version, so that two versions of a program do not replace each other's. Readers have an index all the
-- while. Of one version, forms are in the order of their bytes, as on the other databases.
CREATE UNIQUE INDEX idx_snapshots_form ON snapshots (aggregate_id, version DESC, snapshot_type COLLATE "C" DESC);
DROP INDEX IF EXISTS idx_snapshots_version;
ALTER INDEX idx_snapshots_form RENAME TO idx_snapshots_version;
