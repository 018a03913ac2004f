-- Create a table with the columns of events, for the log at a past point. It is not part of the store. It has no index except the order of
-- the log, and no checks, so that it can also hold damaged rows.
CREATE TABLE events_restored (
    global_sequence   INTEGER PRIMARY KEY,
    event_id          TEXT,
    aggregate_id      TEXT,
    aggregate_type    TEXT,
    aggregate_version INTEGER,
    event_type        TEXT,
    event_data        TEXT,
    metadata          TEXT,
    created_at        TEXT,
    updated_at        TEXT,
    created_by        TEXT,
    tenant_id         TEXT,
    correlation_id    TEXT,
    causation_id      TEXT,
    checksum          TEXT,
    event_size_bytes  INTEGER GENERATED ALWAYS AS (length(CAST(event_data AS BLOB))) VIRTUAL
);
