-- The state of the conversion: whether the table of events is partitioned, the unfinished conversion, if there is one, and what the next
-- step needs. The last allocated sequence is NULL if the role may not read it.
SELECT
    pg_class.relkind = 'p' AS is_partitioned,
    conversions.id,
    conversions.events_per_range,
    conversions.by_month,
    conversions.prepared,
    conversions.prepare_until,
    conversions.bound,
    conversions.former IS NOT NULL AS is_swapped,
    CASE
        WHEN has_sequence_privilege(to_regclass('events_global_sequence_seq'), 'SELECT, USAGE')
        THEN firefly_last_allocated(to_regclass('events_global_sequence_seq'))
    END AS allocated,
    pg_relation_size(pg_class.oid) AS bytes,
    checked.conname IS NOT NULL AS is_bound,
    EXISTS (
        SELECT 1
        FROM pg_depend
        JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
        WHERE pg_depend.classid = 'pg_rewrite'::regclass
          AND pg_depend.refobjid = pg_class.oid
          AND pg_rewrite.ev_class = to_regclass('mv_aggregate_summary')
    ) AS are_summaries_of_table,
    conversions.aggregate_types
FROM pg_class
LEFT JOIN firefly_conversions AS conversions ON conversions.finished_at IS NULL
LEFT JOIN pg_constraint AS checked ON checked.conrelid = pg_class.oid AND checked.conname = 'firefly_bound'
WHERE firefly_here()
  AND pg_class.oid = 'events'::regclass;
