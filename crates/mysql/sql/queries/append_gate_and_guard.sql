(
    SELECT IF(gate.has_archived = 0 AND head.aggregate_type = ? AND head.tenant_id <=> ?, head.aggregate_version + 1, NULL)
    FROM firefly_gate AS gate
    STRAIGHT_JOIN events AS head FORCE INDEX (idx_events_aggregate_version)
    WHERE gate.id = 3 + MICROSECOND(NOW(6)) DIV 10000
      AND head.aggregate_id = ?
      AND head.aggregate_version = ?
    LOCK IN SHARE MODE
)
