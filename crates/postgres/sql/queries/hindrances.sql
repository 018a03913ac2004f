-- Objects that depend on the table of events and cannot be moved to another table; no row if there are none.
SELECT hindrance
FROM pg_class AS events
CROSS JOIN LATERAL (
    SELECT format('the constraint %I of the table %s', conname, conrelid::regclass) AS hindrance
    FROM pg_constraint
    WHERE (contype = 'f' AND (conrelid = events.oid OR confrelid = events.oid))
       OR (conrelid = events.oid AND NOT convalidated AND conname <> 'firefly_bound')
    UNION ALL
    SELECT format('the index %s', indexrelid::regclass)
    FROM pg_index
    WHERE indrelid = events.oid
      AND (
        -- A conversion that was cut off may have left this one.
        (NOT indisvalid AND indexrelid::regclass::text !~ '(^|\.)(idx_events_stream|idx_events_sequence_type)$')
        OR (
            (indisunique OR indisexclusion)
            AND indexrelid::regclass::text !~ '(^|\.)(events_pkey|idx_events_aggregate_version|idx_events_global_sequence|idx_events_sequence_type)$'
        )
      )
    UNION ALL
    SELECT format('the trigger %I', tgname)
    FROM pg_trigger
    WHERE tgrelid = events.oid
      AND NOT tgisinternal
      AND (tgconstraint <> 0 OR (tgtype & 1 = 1 AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)))
    UNION ALL
    SELECT format('the rule %I', rulename)
    FROM pg_rewrite
    WHERE ev_class = events.oid
    UNION ALL
    SELECT format('the policy %I', polname)
    FROM pg_policy
    WHERE polrelid = events.oid
    UNION ALL
    SELECT 'row level security'
    WHERE events.relrowsecurity
    UNION ALL
    SELECT 'that the table is not logged'
    WHERE events.relpersistence <> 'p'
    UNION ALL
    SELECT format('privileges on the column %I', attname)
    FROM pg_attribute
    WHERE attrelid = events.oid
      AND attacl IS NOT NULL
    UNION ALL
    SELECT format('the publication %I', pubname)
    FROM pg_publication_tables
    WHERE (schemaname, tablename) = (SELECT nspname, events.relname FROM pg_namespace WHERE oid = events.relnamespace)
    UNION ALL
    SELECT format('the materialized view %s', pg_rewrite.ev_class::regclass)
    FROM pg_depend
    JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
    JOIN pg_class AS views ON views.oid = pg_rewrite.ev_class
    WHERE pg_depend.classid = 'pg_rewrite'::regclass
      AND pg_depend.refobjid = events.oid
      AND views.relkind = 'm'
      AND views.oid <> 'mv_aggregate_summary'::regclass
    UNION ALL
    SELECT format('the view %s, which another role owns', views.oid::regclass)
    FROM pg_depend
    JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
    JOIN pg_class AS views ON views.oid = pg_rewrite.ev_class
    WHERE pg_depend.classid = 'pg_rewrite'::regclass
      AND pg_depend.refobjid = events.oid
      AND views.relkind = 'v'
      AND NOT pg_has_role(views.relowner, 'USAGE')
    UNION ALL
    SELECT format('the function %s', objid::regprocedure)
    FROM pg_depend
    WHERE classid = 'pg_proc'::regclass
      AND refobjid = events.oid
    UNION ALL
    SELECT format('the table %s, which inherits from it or from which it inherits', COALESCE(NULLIF(inhrelid, events.oid), inhparent)::regclass)
    FROM pg_inherits
    WHERE events.relkind <> 'p'
      AND (inhrelid = events.oid OR inhparent = events.oid)
) AS found
WHERE firefly_here()
  AND events.oid = 'events'::regclass
ORDER BY hindrance
LIMIT 5;
