-- Let the summaries of aggregates be those of the partitioned table, filled as they were.
DO $do$
DECLARE
    definition CONSTANT text := replace(pg_get_viewdef('mv_aggregate_summary'::regclass), 'events_from_1', 'events');
    privilege record;
BEGIN
    EXECUTE 'CREATE MATERIALIZED VIEW mv_aggregate_summary_made AS ' || definition;
    CREATE UNIQUE INDEX idx_mv_aggregate_summary_made ON mv_aggregate_summary_made (aggregate_id, aggregate_type);
    EXECUTE format(
        'ALTER MATERIALIZED VIEW mv_aggregate_summary_made OWNER TO %I',
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'mv_aggregate_summary'::regclass)
    );
    FOR privilege IN
        SELECT
            acl.privilege_type,
            CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee
        FROM pg_class
        CROSS JOIN LATERAL aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'mv_aggregate_summary'::regclass
    LOOP
        EXECUTE format('GRANT %s ON mv_aggregate_summary_made TO %s', privilege.privilege_type, privilege.grantee);
    END LOOP;
    DROP MATERIALIZED VIEW mv_aggregate_summary;
    ALTER MATERIALIZED VIEW mv_aggregate_summary_made RENAME TO mv_aggregate_summary;
    ALTER INDEX idx_mv_aggregate_summary_made RENAME TO idx_mv_aggregate_summary_pk;
END;
$do$;
