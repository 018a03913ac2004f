-- Ours: snapshots belong to a tenant and have a checksum, as events do; an aggregate type's events in the order of the log;
-- and the high-water mark, by gates.
-- unless column snapshots.tenant_id
ALTER TABLE snapshots
    ADD COLUMN tenant_id VARCHAR(255),
    ADD COLUMN checksum VARCHAR(64);

-- unless index events.idx_events_aggregate_type
CREATE INDEX idx_events_aggregate_type ON events (aggregate_type);

-- From before its first sequence is allocated until its commit, an append holds a shared lock on one of these rows: which one
-- changes fifty times a second, so that each is free again and again. At a hole in the log, a reader notes the greatest
-- sequence that it sees; once it has then seen each row free, whoever allocated a sequence up to that one is done.
-- unless table firefly_gate
CREATE TABLE firefly_gate (
    id TINYINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
INSERT IGNORE INTO firefly_gate (id) VALUES (0), (1), (2);

-- An append within a transaction that goes on holds one of these rows for each of its aggregates, by their ids, so that two
-- such transactions on one aggregate follow each other. Two that wait for a third one's version would else end in a deadlock.
-- unless table firefly_turn
CREATE TABLE firefly_turn (
    id SMALLINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
INSERT IGNORE INTO firefly_turn (id)
WITH RECURSIVE numbers (id) AS (
    SELECT 0
    UNION ALL
    SELECT id + 1
    FROM numbers
    WHERE id < 999
)
SELECT id
FROM numbers;
