-- What of each stream is archived. Statements read this in a partitioned log. Events that are leaving with their partitions count as
-- archived once their partitions are detached.
SELECT
    stored.aggregate_id,
    stored.aggregate_type,
    stored.tenant_id,
    CASE WHEN leaving.stays THEN stored.former_version ELSE stored.version END AS version,
    CASE WHEN leaving.stays THEN stored.former_event_id ELSE stored.last_event_id END AS last_event_id,
    stored.first_sequence,
    CASE WHEN leaving.stays THEN stored.former_sequence ELSE stored.last_sequence END AS last_sequence,
    CASE WHEN leaving.stays THEN stored.former_created_until ELSE stored.created_until END AS created_until
FROM firefly_archived_streams AS stored
-- Called once for each row that is found.
CROSS JOIN LATERAL (SELECT firefly_stays(stored.last_sequence) AS stays OFFSET 0) AS leaving
WHERE NOT leaving.stays
   OR stored.former_version IS NOT NULL
