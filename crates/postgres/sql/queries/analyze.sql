-- Update the planner's statistics of the store's tables. Blocks nobody.
ANALYZE events /* or filled partitions, and their keys */, firefly_archived_events, firefly_archived_streams, mv_aggregate_summary, snapshots;
