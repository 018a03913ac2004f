-- Update the planner's statistics of the archive tables. Statements that were planned when these were empty are planned again, and then use
-- keys. Blocks nobody.
ANALYZE firefly_archived_events, firefly_archived_streams;
