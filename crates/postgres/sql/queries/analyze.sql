-- Bring what the planner knows of the store's tables up to date. Nobody waits.
ANALYZE events, snapshots, mv_aggregate_summary;
