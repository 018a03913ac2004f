-- An aggregate with events that this library would not have written.
SELECT aggregate_id
FROM (
    SELECT
        aggregate_id,
        aggregate_version,
        aggregate_type,
        tenant_id,
        ROW_NUMBER() OVER (PARTITION BY aggregate_id ORDER BY global_sequence) AS place,
        FIRST_VALUE(aggregate_type) OVER (PARTITION BY aggregate_id ORDER BY global_sequence) AS first_type,
        FIRST_VALUE(tenant_id) OVER (PARTITION BY aggregate_id ORDER BY global_sequence) AS first_tenant
    FROM events
) AS numbered
WHERE aggregate_version <> place
   OR aggregate_type <> first_type
   OR NOT (tenant_id <=> first_tenant)
LIMIT 1
