-- A table with the columns of events, for the log as it was. It is no part of the store: no index but the order of the log, and
-- no check. It gets its name once it is filled, because the server commits what is made until then, and a crash may follow.
CREATE TABLE events_restored_unfinished (
    PRIMARY KEY (global_sequence)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4
SELECT
    global_sequence,
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    metadata_correlation,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    event_size_bytes,
    checksum
FROM events
WHERE FALSE
