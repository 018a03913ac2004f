-- The owner and the version of each of these aggregates, archived or not; no row for an aggregate without events.
-- $1 aggregate_id uuid[]
SELECT
    head.aggregate_id,
    head.aggregate_type,
    head.tenant_id,
    head.aggregate_version
FROM unnest($1::uuid[]) AS wanted (aggregate_id)
CROSS JOIN LATERAL (
    (
        SELECT
            aggregate_id,
            aggregate_type,
            tenant_id,
            aggregate_version
        FROM events /* or their keys */ AS stored
        WHERE stored.aggregate_id = wanted.aggregate_id
        ORDER BY aggregate_version DESC
        LIMIT 1
    )
    UNION ALL
    -- Read only if the log has no event of the aggregate.
    SELECT
        aggregate_id,
        aggregate_type,
        tenant_id,
        version
    FROM firefly_archived_streams AS archived
    WHERE archived.aggregate_id = wanted.aggregate_id
    LIMIT 1
) AS head
WHERE firefly_here();
