-- Give the restored log its name, now that it is whole; refused where there is such a table (1050).
RENAME TABLE events_restored_unfinished TO events_restored
