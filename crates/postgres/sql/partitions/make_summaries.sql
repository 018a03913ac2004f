-- Create the summaries of aggregates again, from a view. The view can be changed when another table becomes the table of events; the
-- summaries do not change meanwhile. Then run take_summaries.sql.
DROP MATERIALIZED VIEW IF EXISTS mv_aggregate_summary_made;
CREATE OR REPLACE VIEW v_aggregate_summary AS
SELECT
    aggregate_id,
    aggregate_type,
    MAX(aggregate_version) AS current_version,
    COUNT(*) AS total_events,
    MIN(created_at) AS created_at,
    MAX(created_at) AS last_modified_at,
    SUM(event_size_bytes) AS total_size_bytes,
    tenant_id
FROM events
GROUP BY aggregate_id, aggregate_type, tenant_id;

CREATE MATERIALIZED VIEW mv_aggregate_summary_made AS
SELECT
    aggregate_id,
    aggregate_type,
    current_version,
    total_events,
    created_at,
    last_modified_at,
    total_size_bytes,
    tenant_id
FROM v_aggregate_summary;
CREATE UNIQUE INDEX idx_mv_aggregate_summary_made ON mv_aggregate_summary_made (aggregate_id, aggregate_type);

SELECT firefly_take_rights('mv_aggregate_summary_made', 'mv_aggregate_summary');
-- A refresh reads the view as the owner of the summaries.
SELECT firefly_take_rights('v_aggregate_summary', 'mv_aggregate_summary');
