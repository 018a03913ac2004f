-- The conversion of the log that is not finished; one row. There is no such table otherwise.
-- unless table firefly_conversion
CREATE TABLE firefly_conversion (
    id               TINYINT NOT NULL PRIMARY KEY,
    -- How many global sequences each partition is to have. NULL if the log becomes one table.
    events_per_range BIGINT,
    -- The events up to this sequence are copied into the next table.
    copied           BIGINT NOT NULL,
    -- The last sequence that is to be copied. Triggers copy later ones. NULL while the next table is made.
    copy_until       BIGINT
) ENGINE = InnoDB
