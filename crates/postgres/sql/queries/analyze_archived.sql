-- Bring what the planner knows of what is archived up to date. Statements that were planned while nothing was are planned anew, and look
-- by keys. Nobody waits.
ANALYZE firefly_archived_events, firefly_archived_streams;
