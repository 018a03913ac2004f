-- Whether later partitions can be divided by aggregate type: a key of the log must contain what divides it.
SELECT indnkeyatts > 1
FROM pg_index
WHERE firefly_here()
  AND indexrelid = 'idx_events_global_sequence'::regclass;
