-- Give the name events to the next table, which is not partitioned. Nobody writes keys any more, so they must not be found.
RENAME TABLE
    events TO firefly_earlier_events,
    firefly_event_keys TO firefly_earlier_keys,
    firefly_next_events TO events
