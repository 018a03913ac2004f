-- What the server finds wrong with the store's tables and indexes: rows that do not say that all is well. Reads everything.
CHECK TABLE events /* and their keys */, snapshots, mv_aggregate_summary, firefly_gate, firefly_turn, firefly_seals, firefly_consumers,
    firefly_consumer_members, firefly_parked_events, firefly_archives, firefly_archived_streams, firefly_archived_events, firefly_moves,
    firefly_schema_history
