-- The table of applied migrations.
CREATE TABLE IF NOT EXISTS firefly_schema_history (
    installed_rank INTEGER PRIMARY KEY,
    version        TEXT NOT NULL UNIQUE,
    description    TEXT NOT NULL,
    checksum       TEXT NOT NULL,
    installed_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
) STRICT;
