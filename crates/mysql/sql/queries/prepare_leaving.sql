-- Record up to which version streams will be archived when their events have left with their partition, and what was archived before. The
-- program adds the rows, with bound values. The servers assign from the first to the last.
-- ? aggregate_id · ? aggregate_type · ? tenant_id · ? version · ? last_event_id · ? first_sequence · ? last_sequence · ? created_until
-- ? ? ? ? the first global_sequence that leaves
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
VALUES {rows}
ON DUPLICATE KEY UPDATE
    former_version = IF(last_sequence < ?, version, former_version),
    former_event_id = IF(last_sequence < ?, last_event_id, former_event_id),
    former_created_until = IF(last_sequence < ?, created_until, former_created_until),
    former_sequence = IF(last_sequence < ?, last_sequence, former_sequence),
    version = VALUES(version),
    last_event_id = VALUES(last_event_id),
    last_sequence = VALUES(last_sequence),
    created_until = VALUES(created_until)
