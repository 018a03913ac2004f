-- Append one event. The writer holds the lock, and has checked that the aggregate is at the previous version.
-- ?1 event_id · ?2 aggregate_id · ?3 aggregate_type · ?4 aggregate_version · ?5 event_type · ?6 event_data · ?7 metadata
-- ?8 created_at · ?9 created_by · ?10 tenant_id · ?11 correlation_id · ?12 causation_id · ?13 checksum
-- SQLite assigns the row id, which is the global sequence. A unique violation means that the event id is already stored. No row means that
-- it is archived.
INSERT INTO main.events (
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    checksum
)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
WHERE NOT EXISTS (SELECT 1 FROM main.firefly_archived_events WHERE event_id = ?1);
