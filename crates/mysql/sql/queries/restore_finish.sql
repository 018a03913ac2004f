-- Rename the complete restored log. Refused if there is a table of that name (1050).
RENAME TABLE events_restored_unfinished TO events_restored
