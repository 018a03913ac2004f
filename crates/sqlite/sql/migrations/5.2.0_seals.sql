-- Ours: seals. Each row says what the log was up to a sequence; its digest goes on from that of the row before.
CREATE TABLE firefly_seals (
    global_sequence INTEGER NOT NULL PRIMARY KEY CHECK (global_sequence > 0),
    events          INTEGER NOT NULL CHECK (events > 0),
    digest          TEXT NOT NULL CHECK (length(digest) = 64),
    sealed_at       TEXT NOT NULL CHECK (length(sealed_at) = 27)
) STRICT;
