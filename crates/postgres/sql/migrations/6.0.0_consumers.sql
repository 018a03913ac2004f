-- Ours: consumers. What follows the log keeps here how far it came, who of a group holds which slot, and the events it put aside.

-- Nothing that changes is indexed, and pages have room, so that a checkpoint is written into the page that it was in.
CREATE TABLE IF NOT EXISTS firefly_consumers (
    name             VARCHAR(255) COLLATE "C" NOT NULL,
    slot             INTEGER NOT NULL CHECK (slot >= 0),
    position         BIGINT NOT NULL DEFAULT 0 CHECK (position >= 0),
    token            BIGINT NOT NULL DEFAULT 0,
    holder           UUID,
    lease_until      TIMESTAMPTZ,
    state            VARCHAR(16) NOT NULL DEFAULT 'running',
    failing_sequence BIGINT CHECK (failing_sequence > 0),
    attempts         BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_error       TEXT,
    definition       VARCHAR(64),
    updated_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, slot)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS firefly_consumer_members (
    name    VARCHAR(255) COLLATE "C" NOT NULL,
    holder  UUID NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, holder)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS firefly_parked_events (
    name            VARCHAR(255) COLLATE "C" NOT NULL,
    global_sequence BIGINT NOT NULL CHECK (global_sequence > 0),
    aggregate_id    UUID NOT NULL,
    attempts        BIGINT NOT NULL CHECK (attempts >= 0),
    reason          TEXT NOT NULL,
    parked_at       TIMESTAMPTZ NOT NULL,
    replay          BOOLEAN NOT NULL DEFAULT false,
    PRIMARY KEY (name, global_sequence)
);

CREATE INDEX IF NOT EXISTS idx_parked_events_aggregate ON firefly_parked_events (name, aggregate_id, global_sequence);
