-- Bring what the planner knows of the store's tables up to date. Nobody waits.
ANALYZE events /* or filled partitions, and their keys */, firefly_archived_events, firefly_archived_streams, mv_aggregate_summary, snapshots;
