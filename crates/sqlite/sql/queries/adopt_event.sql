-- Insert an event unchanged, from an export or a table that was created by hand. Without a sequence, it gets the next one.
-- ?1 event_id · ?2 aggregate_id · ?3 aggregate_type · ?4 aggregate_version · ?5 global_sequence · ?6 event_type
-- ?7 event_data · ?8 metadata · ?9 created_at · ?10 updated_at · ?11 created_by · ?12 tenant_id · ?13 correlation_id
-- ?14 causation_id · ?15 checksum
INSERT INTO events (
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    global_sequence,
    event_type,
    event_data,
    metadata,
    created_at,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    checksum
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15);
