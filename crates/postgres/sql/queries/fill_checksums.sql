-- Fill in checksums.
-- $1 event_id uuid[] · $2 checksum text[]
UPDATE events
SET checksum = computed.checksum
FROM unnest($1::uuid[], $2::text[]) AS computed (event_id, checksum)
JOIN events /* or their keys */ AS stored ON stored.event_id = computed.event_id
WHERE events.global_sequence = stored.global_sequence;
