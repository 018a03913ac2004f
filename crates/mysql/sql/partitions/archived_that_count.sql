-- What of each stream is archived. Statements read this in a partitioned log. Events that are leaving with their partition count as archived
-- once the row of the first one is gone from the log: all leave together, and nobody can change them meanwhile.
SELECT
    kept.aggregate_id,
    kept.aggregate_type,
    kept.tenant_id,
    IF(staying.global_sequence IS NULL, kept.version, kept.former_version) AS version,
    IF(staying.global_sequence IS NULL, kept.last_event_id, kept.former_event_id) AS last_event_id,
    kept.first_sequence,
    IF(staying.global_sequence IS NULL, kept.last_sequence, kept.former_sequence) AS last_sequence,
    IF(staying.global_sequence IS NULL, kept.created_until, kept.former_created_until) AS created_until
FROM firefly_archived_streams AS kept
LEFT JOIN (
    firefly_leaving AS leaving
    JOIN events AS staying ON staying.global_sequence = leaving.first_sequence
) ON kept.last_sequence BETWEEN leaving.first_sequence AND leaving.last_sequence
WHERE staying.global_sequence IS NULL
   OR kept.former_version IS NOT NULL
