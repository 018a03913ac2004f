-- Make the summaries from make_summaries.sql those of the store. Readers of the summaries wait for a moment.
DROP MATERIALIZED VIEW mv_aggregate_summary;
ALTER MATERIALIZED VIEW mv_aggregate_summary_made RENAME TO mv_aggregate_summary;
ALTER INDEX idx_mv_aggregate_summary_made RENAME TO idx_mv_aggregate_summary_pk;
