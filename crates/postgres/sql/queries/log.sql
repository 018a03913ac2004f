-- Read the log. The program adds the source of the rows, the filters, an order and a limit.
-- $1 most bytes of data and metadata in a row · $2 the sequence to read from · $3 the sequence to read up to · $4 most rows. A larger row
-- comes without them, so that what is sent has a bound. Metadata that is stored in 200 bytes is taken for nothing.
SELECT
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    global_sequence,
    event_type,
    CASE
        WHEN event_size_bytes <= $1
            AND (
                metadata IS NULL
                OR pg_column_size(metadata) <= 200
                OR octet_length(metadata::text) <= $1 - event_size_bytes
            )
        THEN event_data
    END AS event_data,
    CASE
        WHEN metadata IS NULL
            OR pg_column_size(metadata) <= 200
            OR octet_length(metadata::text) <= $1 - event_size_bytes
        THEN metadata
    END AS metadata,
    created_at,
    updated_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    event_size_bytes,
    checksum
FROM events
