-- The positions of the events with these ids. An archived event has a fingerprint instead of its contents.
-- $1 event ids, an array
SELECT
    stored.event_id,
    stored.aggregate_id,
    stored.aggregate_type,
    stored.tenant_id,
    stored.aggregate_version,
    stored.global_sequence,
    stored.event_type,
    stored.checksum,
    stored.metadata,
    stored.created_at,
    stored.created_by,
    stored.correlation_id,
    stored.causation_id,
    stored.fingerprint
FROM unnest($1::uuid[]) AS wanted (event_id)
-- One by one, so that the keys are used even if the statement was planned when there were few rows.
CROSS JOIN LATERAL (
    SELECT
        event_id,
        aggregate_id,
        aggregate_type,
        tenant_id,
        aggregate_version,
        global_sequence,
        event_type,
        checksum,
        metadata,
        created_at,
        created_by,
        correlation_id,
        causation_id,
        NULL::bytea AS fingerprint
    FROM events /* by their keys */ AS events
    WHERE events.event_id = wanted.event_id
    UNION ALL
    SELECT
        archived.event_id,
        archived.aggregate_id,
        stream.aggregate_type,
        stream.tenant_id,
        archived.aggregate_version,
        archived.global_sequence,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        archived.fingerprint
    FROM firefly_archived_events AS archived
    JOIN firefly_archived_streams AS stream ON stream.aggregate_id = archived.aggregate_id
    WHERE archived.event_id = wanted.event_id
    LIMIT 1
) AS stored
WHERE firefly_here();
