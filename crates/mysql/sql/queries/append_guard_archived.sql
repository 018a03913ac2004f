COALESCE(
    (
        SELECT head.aggregate_version + 1
        FROM events AS head FORCE INDEX (idx_events_aggregate_version)
        WHERE head.aggregate_id = ?
          AND head.aggregate_version = ?
          AND head.aggregate_type = ?
          AND head.tenant_id <=> ?
    ),
    (
        SELECT archived.version + 1
        FROM firefly_archived_streams AS archived
        WHERE archived.aggregate_id = ?
          AND archived.version = ?
          AND archived.aggregate_type = ?
          AND archived.tenant_id <=> ?
        LOCK IN SHARE MODE
    )
)
