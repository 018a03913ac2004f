-- The table of applied migrations.
CREATE TABLE IF NOT EXISTS firefly_schema_history (
    installed_rank INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY,
    version        VARCHAR(50) NOT NULL UNIQUE,
    description    VARCHAR(255) NOT NULL,
    checksum       VARCHAR(64) NOT NULL,
    installed_at   DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
