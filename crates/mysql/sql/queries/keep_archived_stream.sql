-- Record up to which version aggregates' streams are archived. The program adds the rows, with bound values.
-- ? aggregate_id · ? aggregate_type · ? tenant_id · ? version · ? last_event_id · ? first_sequence · ? last_sequence · ? created_until
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
    version = VALUES(version),
    last_event_id = VALUES(last_event_id),
    last_sequence = VALUES(last_sequence),
    created_until = VALUES(created_until)
