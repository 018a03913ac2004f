-- The last row of a page of the log. It is not an event, and has no id. Its version is the end of the log, and its sequence the last
-- archived one; NULL if there is none. Both belong to the same state of the database as the page.
SELECT
    NULL::uuid AS event_id,
    NULL::uuid AS aggregate_id,
    NULL::varchar AS aggregate_type,
    (SELECT MAX(global_sequence) FROM events /* or their keys */) AS aggregate_version,
    (SELECT MAX(last_sequence) FROM firefly_archives) AS global_sequence,
    NULL::varchar AS event_type,
    NULL::jsonb AS event_data,
    NULL::jsonb AS metadata,
    NULL::timestamptz AS created_at,
    NULL::timestamptz AS updated_at,
    NULL::varchar AS created_by,
    NULL::varchar AS tenant_id,
    NULL::varchar AS correlation_id,
    NULL::varchar AS causation_id,
    NULL::integer AS event_size_bytes,
    NULL::varchar AS checksum
WHERE firefly_here();
