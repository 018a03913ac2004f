-- Remove what a restore that failed, or a crash in the middle of one, has left.
DROP TABLE IF EXISTS events_restored_unfinished
