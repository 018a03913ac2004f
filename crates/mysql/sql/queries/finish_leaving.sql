-- No event is leaving with its partition any more.
DELETE FROM firefly_leaving
