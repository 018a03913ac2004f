-- The source document's version 1.2.0: finding events by a correlation id that is kept in their metadata.
-- Computed when it is needed, and cut to what an index takes, so that no event is refused because of it.
-- unless column events.metadata_correlation
ALTER TABLE events
    ADD COLUMN metadata_correlation VARCHAR(255) GENERATED ALWAYS AS (LEFT(JSON_VALUE(metadata, '$.correlationId'), 255)) VIRTUAL;
-- unless index events.idx_events_metadata_correlation
CREATE INDEX idx_events_metadata_correlation ON events (metadata_correlation);
