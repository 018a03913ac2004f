-- Whether the index on streams is valid. No row if there is none.
SELECT indisvalid
FROM pg_index
WHERE indexrelid = to_regclass('idx_events_stream');
