-- Give the sequence to the table that is now called events.
ALTER SEQUENCE events_global_sequence_seq OWNED BY events.global_sequence;
