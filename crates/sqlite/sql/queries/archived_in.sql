-- The first archive with an event in a part of the log that may match the filters. Only the keys of archived events are known.
-- ?1 the sequence after which the window begins · ?2 the last of the window · ?3 created at this time or later, or NULL
-- ?4 created at this time or earlier, or NULL · ?5 aggregate_id or NULL · ?6 tenant_id or NULL · ?7 aggregate types, a JSON array, or NULL
-- ?8 event ids, a JSON array, or NULL
SELECT
    digest,
    first_sequence,
    last_sequence,
    events,
    first_created_at,
    last_created_at,
    location,
    archived_at,
    log_events,
    log_digest,
    retired
FROM firefly_archives AS archive
WHERE last_sequence > ?1
  AND first_sequence <= ?2
  AND (?3 IS NULL OR last_created_at >= ?3)
  AND (?4 IS NULL OR first_created_at <= ?4)
  AND EXISTS (
      SELECT 1
      FROM firefly_archived_events AS event
      JOIN firefly_archived_streams AS stream ON stream.aggregate_id = event.aggregate_id
      WHERE event.global_sequence BETWEEN max(archive.first_sequence, ?1 + 1) AND min(archive.last_sequence, ?2)
        AND (?5 IS NULL OR event.aggregate_id = ?5)
        AND (?6 IS NULL OR stream.tenant_id = ?6)
        AND (?7 IS NULL OR stream.aggregate_type IN (SELECT value FROM json_each(?7)))
        AND (?8 IS NULL OR event.event_id IN (SELECT value FROM json_each(?8)))
  )
ORDER BY first_sequence, digest
LIMIT 1;
