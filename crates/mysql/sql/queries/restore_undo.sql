-- Remove the rest of a failed or interrupted restore.
DROP TABLE IF EXISTS events_restored_unfinished
