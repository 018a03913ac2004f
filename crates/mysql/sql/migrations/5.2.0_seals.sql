-- Ours: seals. Each row says what the log was up to a sequence; its digest goes on from that of the row before.
-- unless table firefly_seals
CREATE TABLE firefly_seals (
    global_sequence BIGINT NOT NULL PRIMARY KEY,
    events          BIGINT NOT NULL,
    digest          VARCHAR(64) NOT NULL,
    sealed_at       DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
