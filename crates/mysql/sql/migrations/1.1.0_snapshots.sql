-- The source document's version 1.1.0: snapshots.
-- unless table snapshots
CREATE TABLE snapshots (
    snapshot_id    BINARY(16) NOT NULL PRIMARY KEY,
    aggregate_id   BINARY(16) NOT NULL,
    aggregate_type VARCHAR(255) NOT NULL,
    version        BIGINT NOT NULL,
    snapshot_type  VARCHAR(255) NOT NULL,
    snapshot_data  JSON NOT NULL,
    created_at     DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    UNIQUE KEY idx_snapshots_version (aggregate_id, version),
    KEY idx_snapshots_created_at (created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
