-- Let the sequence go with the table that is called events by now.
ALTER SEQUENCE events_global_sequence_seq OWNED BY events.global_sequence;
