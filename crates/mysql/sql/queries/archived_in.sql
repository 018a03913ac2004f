-- The first archive with an event in a part of the log that may match the filters; only the keys of archived events are known. Also returns
-- how often events were attached. The program adds the conditions.
-- ? the sequence after which the window begins · ? the last of the window
-- ? ? created at this time or later, or NULL · ? ? created at this time or earlier, or NULL · the filters' values
SELECT
    archive.digest,
    archive.first_sequence,
    archive.last_sequence,
    archive.events,
    archive.first_created_at,
    archive.last_created_at,
    archive.location,
    archive.archived_at,
    archive.log_events,
    archive.log_digest,
    archive.retired,
    firefly_moves.attached
FROM firefly_moves
LEFT JOIN (
    SELECT archives.*
    FROM firefly_archives AS archives
    WHERE archives.last_sequence > ?
      AND archives.first_sequence <= ?
      AND (? IS NULL OR archives.last_created_at >= ?)
      AND (? IS NULL OR archives.first_created_at <= ?)
      AND EXISTS (
{events}
      )
    ORDER BY archives.first_sequence, archives.digest
    LIMIT 1
) AS archive ON TRUE
