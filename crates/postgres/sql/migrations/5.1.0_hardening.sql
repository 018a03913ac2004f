-- Ours: the high-water mark is proved on the server that writes and nowhere else; what was proved there may be published for those
-- who read on its replicas.

-- At most one row: a mark that was proved. Whoever reads on a replica sees it only after every event that it covers.
CREATE TABLE IF NOT EXISTS firefly_published_mark (
    id              SMALLINT PRIMARY KEY CHECK (id = 1),
    global_sequence BIGINT NOT NULL,
    published_at    TIMESTAMPTZ NOT NULL
);

-- Look, only where sequences are allocated: the last sequence allocated, then the locks, then the rows, in this order, each seeing
-- what was committed by then: so only where the transaction is READ COMMITTED. A lock goes only after its transaction's rows are
-- visible, so what is allocated and not announced is settled.
CREATE OR REPLACE FUNCTION firefly_high_water_mark() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    allocated bigint;
    settled bigint;
BEGIN
    -- A standby shows the rows of the primary, but neither its locks nor its last sequence. Once a server is none, it never is again.
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a server in recovery cannot prove the high-water mark' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the high-water mark needs a READ COMMITTED transaction' USING ERRCODE = 'active_sql_transaction';
    END IF;
    allocated := firefly_last_allocated('events_global_sequence_seq');
    -- A lock has the low 32 bits of a sequence. One beyond those allocated when this began counts as the last of them.
    SELECT MIN(CASE WHEN behind < 2147483648 THEN allocated - behind ELSE allocated END)
    INTO settled
    FROM (
        SELECT (allocated - objid::bigint) & 4294967295 AS behind
        FROM pg_locks
        WHERE locktype = 'advisory'
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid::bigint = ('events'::regclass::oid::bigint # 1718973036) & 4294967295
          AND objsubid = 2
          AND mode = 'ShareLock'
          AND granted
    ) AS announced;
    settled := LEAST(allocated, settled);
    -- Where the last sequence was read in the middle of an append, that is between two sequences of one transaction that
    -- follow each other, the mark is before the append.
    RETURN COALESCE((
        SELECT
            CASE
                WHEN following.writer = last.writer AND following.global_sequence = last.global_sequence + 1 THEN (
                    SELECT earlier.global_sequence
                    FROM events AS earlier
                    WHERE earlier.global_sequence < last.global_sequence
                      AND earlier.xmin <> last.writer
                    ORDER BY earlier.global_sequence DESC
                    LIMIT 1
                )
                ELSE last.global_sequence
            END
        FROM (
            SELECT global_sequence, xmin AS writer
            FROM events
            WHERE global_sequence <= settled
            ORDER BY global_sequence DESC
            LIMIT 1
        ) AS last
        LEFT JOIN (
            SELECT global_sequence, xmin AS writer
            FROM events
            WHERE global_sequence > settled
            ORDER BY global_sequence
            LIMIT 1
        ) AS following ON true
    ), 0);
END;
$$;

-- A store is known by the oid of its table, which its connections keep in firefly.store; names can be given to others. Where the
-- search path leads to another table by now, whoever asks must not be answered. No function names a schema: each works in any, under
-- any name.
CREATE OR REPLACE FUNCTION firefly_elsewhere() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RAISE EXCEPTION 'the search path leads to another store than the one that was opened' USING ERRCODE = 'ZF001';
END;
$$;

-- A program without this library has no such setting, or, once it was set and forgotten, an empty one. Written so that it becomes a
-- part of the statement that calls it.
CREATE OR REPLACE FUNCTION firefly_here() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN COALESCE(current_setting('firefly.store', true), '') IN ('', 'events'::regclass::oid::text) THEN true
        ELSE firefly_elsewhere()
    END
$$;

-- As before, and a store's own append is refused in another store's table.
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
        RAISE EXCEPTION 'this is another store than the one that was opened' USING ERRCODE = 'ZF001';
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
