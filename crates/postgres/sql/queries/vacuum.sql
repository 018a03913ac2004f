-- Give the room of deleted and updated rows to new ones, and bring the planner's statistics up to date. Nobody waits but who
-- changes the tables themselves, or imports. Not within a transaction.
VACUUM (ANALYZE) events, snapshots, mv_aggregate_summary;
