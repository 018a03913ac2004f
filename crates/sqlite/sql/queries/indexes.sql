-- The indexes of the store's tables.
SELECT
    tbl_name,
    name
FROM sqlite_schema
WHERE type = 'index'
  AND tbl_name IN ('events', 'snapshots', 'firefly_archived_events', 'firefly_parked_events');
