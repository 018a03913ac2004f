-- Give the room of deleted and updated rows to new ones, and bring the planner's statistics up to date. Nobody waits but who
-- changes the tables themselves, or imports. Not within a transaction.
VACUUM (ANALYZE) events /* or filled partitions, and their keys */, firefly_archived_events, firefly_archived_streams, mv_aggregate_summary, snapshots;
