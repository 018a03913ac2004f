-- Estimate anew what the planner knows of the store's tables: what went wrong is in the rows, not an error.
ANALYZE TABLE events /* and their keys */, snapshots, mv_aggregate_summary, firefly_gate, firefly_turn, firefly_seals, firefly_consumers,
    firefly_consumer_members, firefly_parked_events, firefly_archives, firefly_archived_streams, firefly_archived_events, firefly_moves,
    firefly_schema_history
