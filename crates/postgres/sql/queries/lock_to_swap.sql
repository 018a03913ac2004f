-- Block readers and writers of events until this transaction ends, to give the name to another table, or to change objects that depend on
-- it. Like lock_to_move.sql, but the strongest lock is requested at once: raising a lock would deadlock with a transaction that reads and
-- then writes. A reader of a view locks the view first, so this does, too.
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
