-- Make the space of deleted and updated rows reusable, and update the planner's statistics. Blocks only schema changes and imports. Cannot
-- run within a transaction.
VACUUM (ANALYZE) events /* or filled partitions, and their keys */, firefly_archived_events, firefly_archived_streams, mv_aggregate_summary, snapshots;
