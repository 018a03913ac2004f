-- Let nobody else read or write events until this transaction ends, to let another table take the name, or to define what hangs on it. As
-- lock_to_move.sql, but the lock is asked for at once: whoever reads, and then writes, would deadlock with one that is raised. Whoever reads
-- by a view locks that first, so here, too.
SET LOCAL lock_timeout = '5s';
LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE;
SET LOCAL lock_timeout = '50ms';
DO $$
DECLARE
    hanging regclass;
BEGIN
    FOR hanging IN
        SELECT DISTINCT views.oid
        FROM pg_depend
        JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
        JOIN pg_class AS views ON views.oid = pg_rewrite.ev_class
        WHERE pg_depend.classid = 'pg_rewrite'::regclass
          AND pg_depend.refclassid = 'pg_class'::regclass
          AND pg_depend.refobjid = 'events'::regclass
          AND views.relkind = 'v'
        ORDER BY views.oid
    LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', hanging);
    END LOOP;
END;
$$;
LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
