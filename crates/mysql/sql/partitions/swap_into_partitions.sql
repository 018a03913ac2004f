-- Give the name events to the next table, which is partitioned. One step: it is done wholly or not at all.
RENAME TABLE
    events TO firefly_earlier_events,
    firefly_next_events TO events
