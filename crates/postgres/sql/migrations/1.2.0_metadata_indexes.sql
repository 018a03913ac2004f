-- The source document's version 1.2.0: finding events by a correlation id that is kept in their metadata.
-- A hash, because a B-tree refuses values of more than about 2.7 kB, and with them the event.
DROP INDEX IF EXISTS idx_events_metadata_correlation;
CREATE INDEX IF NOT EXISTS idx_events_metadata_correlation ON events USING hash ((metadata ->> 'correlationId')) WHERE metadata ->> 'correlationId' IS NOT NULL;
