-- Ours: seals. Each row says what the log was up to a sequence; its digest goes on from that of the row before.
CREATE TABLE IF NOT EXISTS firefly_seals (
    global_sequence BIGINT PRIMARY KEY CHECK (global_sequence > 0),
    events          BIGINT NOT NULL CHECK (events > 0),
    digest          VARCHAR(64) NOT NULL,
    sealed_at       TIMESTAMPTZ NOT NULL
);
