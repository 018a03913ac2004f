-- Ours: conversions. The table of events can be converted into a partitioned one, and back, while programs use it. The converted table is
-- a new table with a new oid. So the store records the oids of its earlier tables.

-- One row per conversion. At most one is unfinished.
CREATE TABLE IF NOT EXISTS firefly_conversions (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- How many sequences a partition has, whether each month gets one, or the aggregate types that have tables of their own. None of these if
    -- the events move into one table.
    events_per_range BIGINT CHECK (events_per_range > 0),
    by_month         BOOLEAN NOT NULL DEFAULT false,
    aggregate_types  TEXT[],
    -- The events up to the first of these sequences are prepared. Those up to the second one have to be; triggers prepare later ones.
    prepared         BIGINT NOT NULL,
    prepare_until    BIGINT NOT NULL,
    -- The first sequence of the second partition.
    bound            BIGINT,
    begun_at         TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- The oid of the earlier table, and when the new one got its name.
    former           BIGINT,
    swapped_at       TIMESTAMPTZ,
    finished_at      TIMESTAMPTZ
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_conversions_unfinished ON firefly_conversions ((true)) WHERE finished_at IS NULL;

-- Gives a table or a view the owner and the rights of another one (giver). All other rights are revoked, including those from ALTER DEFAULT
-- PRIVILEGES. If giver is NULL, only the owner keeps rights. Roles that may update giver also get the rights in also_to_update.
CREATE OR REPLACE FUNCTION firefly_take_rights(taker regclass, giver regclass, also_to_update text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    owner CONSTANT regrole := (SELECT relowner FROM pg_class WHERE oid = giver);
    acl record;
    grantee text;
BEGIN
    IF owner <> (SELECT relowner FROM pg_class WHERE oid = taker) THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %s', taker, owner);
    END IF;
    FOR acl IN
        SELECT
            pg_class.oid AS relation,
            explode.grantee,
            string_agg(explode.privilege_type, ', ') AS privileges,
            bool_or(explode.privilege_type = 'UPDATE') AS may_update,
            explode.is_grantable
        FROM pg_class
        CROSS JOIN LATERAL aclexplode(relacl) AS explode
        WHERE pg_class.oid IN (taker, giver)
          AND explode.grantee <> relowner
        GROUP BY pg_class.oid, explode.grantee, explode.is_grantable
        -- First revoke, then grant.
        ORDER BY pg_class.oid = giver
    LOOP
        grantee := CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END;
        IF acl.relation = taker THEN
            EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', taker, grantee);
            CONTINUE;
        END IF;
        EXECUTE format(
            'GRANT %s ON %s TO %s%s',
            acl.privileges,
            taker,
            grantee,
            CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
        );
        IF acl.may_update AND also_to_update IS NOT NULL THEN
            EXECUTE format('GRANT %s ON %s TO %s', also_to_update, taker, grantee);
        END IF;
    END LOOP;
END;
$$;

-- Called if the search path leads to another table of events than the one that the connection was opened for. This is an error, except in a
-- transaction that began before the store was converted, or less than two seconds after: its statements still work. For later ones, the driver
-- makes a new connection with the statements for the converted store. It repeats single statements, and checks before it begins a
-- transaction.
CREATE OR REPLACE FUNCTION firefly_elsewhere() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF EXISTS (
        SELECT 1
        FROM firefly_conversions
        WHERE former::text = current_setting('firefly.store', true)
          AND transaction_timestamp() < swapped_at + INTERVAL '2 seconds'
    ) THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'the search path leads to another store than the one that was opened' USING ERRCODE = 'ZF001';
END;
$$;

-- As before, but firefly_elsewhere decides whether a store's append into another table is refused.
CREATE OR REPLACE FUNCTION firefly_announce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Once per transaction, or thousands of appends in one would use up the lock table. Rolling back to a savepoint
    -- forgets the setting and releases the lock alike.
    announced CONSTANT text := 'firefly.announced_' || TG_RELID;
    store CONSTANT text := current_setting('firefly.store', true);
    allocator regclass;
    allocated bigint;
    -- Calls are assigned: PERFORM would run a query for each, which takes several times as long.
    done text;
BEGIN
    IF store <> '' AND store <> TG_RELID::text THEN
        EXECUTE format('SELECT %I.firefly_elsewhere()', TG_TABLE_SCHEMA) INTO done;
    END IF;
    IF current_setting(announced, true) IS DISTINCT FROM 'yes' THEN
        allocator := format('%I.events_global_sequence_seq', TG_TABLE_SCHEMA)::regclass;
        allocated := pg_sequence_last_value(allocator);
        IF allocated IS NULL THEN
            -- The caller's search path need not lead to this schema.
            EXECUTE format('SELECT %I.firefly_last_allocated($1)', TG_TABLE_SCHEMA) INTO allocated USING allocator;
        END IF;
        done := pg_advisory_xact_lock_shared((TG_RELID::bigint # 1718973036)::bit(32)::integer, allocated::bit(32)::integer);
        done := set_config(announced, 'yes', true);
    END IF;
    RETURN NULL;
END;
$$;

-- Notifies listeners of an append, if queries/notify.sql made the trigger. The channel stays the same after a conversion.
CREATE OR REPLACE FUNCTION firefly_notify() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    done text;
    known bigint;
BEGIN
    EXECUTE format('SELECT former FROM %I.firefly_conversions WHERE former IS NOT NULL ORDER BY id LIMIT 1', TG_TABLE_SCHEMA) INTO known;
    done := pg_notify('firefly_events_' || COALESCE(known, TG_RELID), '');
    RETURN NULL;
END;
$$;

-- Every connection reads this table. It contains no events.
GRANT SELECT ON firefly_conversions TO PUBLIC;
