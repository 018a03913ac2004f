-- Record up to which version an aggregate's stream is archived.
-- ?1 aggregate_id · ?2 aggregate_type · ?3 tenant_id · ?4 version · ?5 last_event_id · ?6 first_sequence · ?7 last_sequence
-- ?8 created_until
INSERT INTO firefly_archived_streams (
    aggregate_id,
    aggregate_type,
    tenant_id,
    version,
    last_event_id,
    first_sequence,
    last_sequence,
    created_until
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (aggregate_id) DO UPDATE SET
    version = excluded.version,
    last_event_id = excluded.last_event_id,
    last_sequence = excluded.last_sequence,
    created_until = excluded.created_until;
