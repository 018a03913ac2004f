-- Bring the aggregate summaries up to date, while others read the old ones.
REFRESH MATERIALIZED VIEW CONCURRENTLY mv_aggregate_summary;
