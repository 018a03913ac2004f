-- Ours: what others may rely on is on the disk, and the high-water mark is proved on the server that writes and nowhere else.

-- One row. To change it is to have the server flush its log, with everything that was committed before.
-- unless table firefly_flush
CREATE TABLE firefly_flush (
    id    TINYINT NOT NULL PRIMARY KEY,
    times BIGINT NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO firefly_flush (id, times) VALUES (1, 0);

-- At most one row: a mark that was proved. Whoever reads on a replica that commits in the order of its source sees it only after
-- every event that it covers.
-- unless table firefly_published_mark
CREATE TABLE firefly_published_mark (
    id              TINYINT NOT NULL PRIMARY KEY,
    global_sequence BIGINT NOT NULL,
    published_at    DATETIME(6) NOT NULL
) ENGINE = InnoDB;

-- The key of a table that was made before without one, which some servers want of every table that is written anew.
-- unless index mv_aggregate_summary.PRIMARY
ALTER TABLE mv_aggregate_summary ADD PRIMARY KEY (aggregate_id);
