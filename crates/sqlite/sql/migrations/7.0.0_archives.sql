-- Ours: archives. Where parts of the log went, and the keys of the events that are no longer in it.
CREATE TABLE firefly_archives (
    digest           TEXT NOT NULL PRIMARY KEY CHECK (length(digest) = 64),
    first_sequence   INTEGER NOT NULL CHECK (first_sequence > 0),
    last_sequence    INTEGER NOT NULL,
    events           INTEGER NOT NULL CHECK (events > 0),
    first_created_at TEXT NOT NULL CHECK (length(first_created_at) = 27),
    last_created_at  TEXT NOT NULL CHECK (length(last_created_at) = 27),
    location         TEXT NOT NULL,
    archived_at      TEXT NOT NULL CHECK (length(archived_at) = 27),
    log_events       INTEGER,
    log_digest       TEXT CHECK (log_digest IS NULL OR length(log_digest) = 64),
    retired          INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    CHECK (first_sequence <= last_sequence)
) STRICT;

-- The versions of these aggregates from 1 to this one are archived; those that follow are events.
CREATE TABLE firefly_archived_streams (
    aggregate_id   TEXT NOT NULL PRIMARY KEY CHECK (length(aggregate_id) = 36),
    aggregate_type TEXT NOT NULL,
    tenant_id      TEXT,
    version        INTEGER NOT NULL CHECK (version > 0),
    last_event_id  TEXT NOT NULL CHECK (length(last_event_id) = 36),
    first_sequence INTEGER NOT NULL,
    last_sequence  INTEGER NOT NULL,
    created_until  TEXT NOT NULL CHECK (length(created_until) = 27)
) STRICT, WITHOUT ROWID;

-- The keys of archived events. An event is in this table or in events, never in both.
CREATE TABLE firefly_archived_events (
    global_sequence   INTEGER NOT NULL PRIMARY KEY CHECK (global_sequence > 0),
    event_id          TEXT NOT NULL CHECK (length(event_id) = 36),
    aggregate_id      TEXT NOT NULL CHECK (length(aggregate_id) = 36),
    aggregate_version INTEGER NOT NULL CHECK (aggregate_version > 0),
    fingerprint       BLOB NOT NULL CHECK (length(fingerprint) = 32)
) STRICT;

CREATE UNIQUE INDEX idx_archived_events_event_id ON firefly_archived_events (event_id);
CREATE UNIQUE INDEX idx_archived_events_version ON firefly_archived_events (aggregate_id, aggregate_version);
