-- The source document's version 1.2.0: finding events by a correlation id that is kept in their metadata.
CREATE INDEX idx_events_metadata_correlation ON events (metadata ->> '$.correlationId') WHERE metadata ->> '$.correlationId' IS NOT NULL;
