-- A table with the columns of events, for the log as it was. It is no part of the store: no index but the order of the log,
-- and no check, so that also a row that is damaged can be looked at.
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
