-- The source document's version 1.0.0: the log of events.
-- The rows lie in the order of the log, and no sequence is used twice.
CREATE TABLE events (
    global_sequence   INTEGER PRIMARY KEY AUTOINCREMENT CHECK (global_sequence > 0),
    event_id          TEXT NOT NULL CHECK (length(event_id) = 36 AND event_id = lower(event_id)),
    aggregate_id      TEXT NOT NULL CHECK (length(aggregate_id) = 36 AND aggregate_id = lower(aggregate_id)),
    aggregate_type    TEXT NOT NULL CHECK (length(aggregate_type) BETWEEN 1 AND 255),
    aggregate_version INTEGER NOT NULL CHECK (aggregate_version > 0),
    event_type        TEXT NOT NULL CHECK (length(event_type) BETWEEN 1 AND 255),
    event_data        TEXT NOT NULL CHECK (json_valid(event_data)),
    metadata          TEXT CHECK (json_valid(metadata)),
    created_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')) CHECK (length(created_at) = 27)
) STRICT;

CREATE UNIQUE INDEX idx_events_event_id ON events (event_id);
CREATE UNIQUE INDEX idx_events_aggregate_version ON events (aggregate_id, aggregate_version);
CREATE INDEX idx_events_type ON events (event_type);
CREATE INDEX idx_events_created_at ON events (created_at);
