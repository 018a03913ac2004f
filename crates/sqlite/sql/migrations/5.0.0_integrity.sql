-- Ours: snapshots belong to a tenant and have a checksum, as events do; an aggregate type's events in the order of the log.
ALTER TABLE snapshots ADD COLUMN tenant_id TEXT CHECK (length(tenant_id) BETWEEN 1 AND 255);
ALTER TABLE snapshots ADD COLUMN checksum TEXT CHECK (length(checksum) = 64);

CREATE INDEX idx_events_aggregate_type ON events (aggregate_type);
