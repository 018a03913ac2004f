-- Ours: consumers. What follows the log keeps here how far it came, who of a group holds which slot, and the events it put aside.
CREATE TABLE firefly_consumers (
    name             TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    slot             INTEGER NOT NULL CHECK (slot >= 0),
    position         INTEGER NOT NULL DEFAULT 0 CHECK (position >= 0),
    token            INTEGER NOT NULL DEFAULT 0,
    holder           TEXT CHECK (length(holder) = 36 AND holder = lower(holder)),
    lease_until      TEXT CHECK (length(lease_until) = 27),
    state            TEXT NOT NULL DEFAULT 'running' CHECK (length(state) BETWEEN 1 AND 16),
    failing_sequence INTEGER CHECK (failing_sequence > 0),
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_error       TEXT,
    definition       TEXT CHECK (length(definition) = 64),
    updated_at       TEXT NOT NULL CHECK (length(updated_at) = 27),
    PRIMARY KEY (name, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE firefly_consumer_members (
    name    TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    holder  TEXT NOT NULL CHECK (length(holder) = 36 AND holder = lower(holder)),
    seen_at TEXT NOT NULL CHECK (length(seen_at) = 27),
    PRIMARY KEY (name, holder)
) STRICT, WITHOUT ROWID;

CREATE TABLE firefly_parked_events (
    name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    global_sequence INTEGER NOT NULL CHECK (global_sequence > 0),
    aggregate_id    TEXT NOT NULL CHECK (length(aggregate_id) = 36 AND aggregate_id = lower(aggregate_id)),
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    reason          TEXT NOT NULL,
    parked_at       TEXT NOT NULL CHECK (length(parked_at) = 27),
    replay          INTEGER NOT NULL DEFAULT 0 CHECK (replay IN (0, 1)),
    PRIMARY KEY (name, global_sequence)
) STRICT, WITHOUT ROWID;

CREATE INDEX idx_parked_events_aggregate ON firefly_parked_events (name, aggregate_id, global_sequence);
