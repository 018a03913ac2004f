-- Events, found by their keys, and by the index that the statement names: what it reads instead of a partitioned table. Each event is then
-- looked up in the one partition that has it. The servers merge this with the statement, so that its filters, its order and its limit are
-- those of the keys.
SELECT
    firefly_event_keys.event_id,
    firefly_event_keys.aggregate_id,
    firefly_event_keys.aggregate_type,
    firefly_event_keys.aggregate_version,
    firefly_event_keys.global_sequence,
    firefly_event_keys.tenant_id,
    found.event_type,
    found.event_data,
    found.metadata,
    found.created_at,
    found.updated_at,
    found.created_by,
    found.correlation_id,
    found.causation_id,
    found.event_size_bytes,
    found.checksum
FROM firefly_event_keys FORCE INDEX ({index})
STRAIGHT_JOIN events AS found FORCE INDEX (PRIMARY) ON found.global_sequence = firefly_event_keys.global_sequence
