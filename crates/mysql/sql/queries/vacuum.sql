-- Write the tables anew, without the room that deleted and updated rows left, and estimate their statistics. InnoDB does so while
-- others read and write, but for two moments in which no transaction may be open that used the table. What went wrong is in the
-- rows, not an error.
OPTIMIZE TABLE events /* and their keys */, snapshots, mv_aggregate_summary, firefly_gate, firefly_turn, firefly_seals, firefly_consumers,
    firefly_consumer_members, firefly_parked_events, firefly_archives, firefly_archived_streams, firefly_archived_events, firefly_moves,
    firefly_schema_history
