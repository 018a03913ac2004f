-- Create a table with the columns of events, for the log at a past point. It is not part of the store. It has no index except the order of
-- the log, and no checks. It is renamed when it is complete, because the server commits it before, and a crash may follow.
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
