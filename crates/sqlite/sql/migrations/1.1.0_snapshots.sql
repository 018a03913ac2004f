-- The source document's version 1.1.0: snapshots.
CREATE TABLE snapshots (
    snapshot_id    TEXT NOT NULL PRIMARY KEY CHECK (length(snapshot_id) = 36 AND snapshot_id = lower(snapshot_id)),
    aggregate_id   TEXT NOT NULL CHECK (length(aggregate_id) = 36 AND aggregate_id = lower(aggregate_id)),
    aggregate_type TEXT NOT NULL CHECK (length(aggregate_type) BETWEEN 1 AND 255),
    version        INTEGER NOT NULL CHECK (version > 0),
    snapshot_type  TEXT NOT NULL CHECK (length(snapshot_type) BETWEEN 1 AND 255),
    snapshot_data  TEXT NOT NULL CHECK (json_valid(snapshot_data)),
    created_at     TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')) CHECK (length(created_at) = 27)
) STRICT;

CREATE UNIQUE INDEX idx_snapshots_version ON snapshots (aggregate_id, version DESC);
CREATE INDEX idx_snapshots_created_at ON snapshots (created_at);
