-- Ours: one snapshot per form at each version, so that two versions of a program do not replace each other's. One statement, which may run
-- again.
ALTER TABLE snapshots
    DROP INDEX idx_snapshots_version,
    ADD UNIQUE INDEX idx_snapshots_version (aggregate_id, version, snapshot_type);
