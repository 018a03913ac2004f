-- Update the aggregate summaries. Readers see the old ones meanwhile.
REFRESH MATERIALIZED VIEW CONCURRENTLY mv_aggregate_summary;
