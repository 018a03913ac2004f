-- Ours: snapshots belong to a tenant and have a checksum, as events do; an aggregate type's events in the order of the log;
-- and the high-water mark, by announce and look.
ALTER TABLE snapshots ADD COLUMN IF NOT EXISTS tenant_id VARCHAR(255);
ALTER TABLE snapshots ADD COLUMN IF NOT EXISTS checksum VARCHAR(64);

DROP INDEX IF EXISTS idx_events_aggregate_type;
CREATE INDEX IF NOT EXISTS idx_events_aggregate_type ON events (aggregate_type, global_sequence);

-- The last sequence that was allocated, 0 if none. From PostgreSQL 18 on, who has no right to know is told NULL, as of a sequence
-- that gave out none yet: for readers the log would be empty, so that is an error.
CREATE OR REPLACE FUNCTION firefly_last_allocated(allocator regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    allocated CONSTANT bigint := pg_sequence_last_value(allocator);
BEGIN
    IF allocated IS NULL AND NOT has_sequence_privilege(allocator, 'SELECT, USAGE') THEN
        RAISE EXCEPTION 'permission denied for sequence %', allocator USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN COALESCE(allocated, 0);
END;
$$;

-- Announce: before a transaction's first sequence is allocated, it takes a shared lock that names the last one that was
-- allocated until then. Whatever it allocates is greater, so a reader that sees the lock stops there. A statement's trigger
-- fires before any of its defaults is computed, also for COPY, and for writers that are not this library.
CREATE OR REPLACE FUNCTION firefly_announce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Once per transaction, or thousands of appends in one would use up the lock table. Rolling back to a savepoint
    -- forgets the setting and releases the lock alike.
    announced CONSTANT text := 'firefly.announced_' || TG_RELID;
    allocator regclass;
    allocated bigint;
    -- Calls are assigned: PERFORM would run a query for each, which takes several times as long.
    done text;
BEGIN
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
DROP TRIGGER IF EXISTS trigger_events_announce ON events;
CREATE TRIGGER trigger_events_announce
BEFORE INSERT ON events
FOR EACH STATEMENT
EXECUTE FUNCTION firefly_announce();
-- Also where session_replication_role turns ordinary triggers off.
ALTER TABLE events ENABLE ALWAYS TRIGGER trigger_events_announce;

-- Look: the last sequence allocated, then the locks, then the rows, in this order, each seeing what was committed by then:
-- so only where the transaction is READ COMMITTED. A lock goes only after its transaction's rows are visible, so what is
-- allocated and not announced is settled.
CREATE OR REPLACE FUNCTION firefly_high_water_mark() RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
    allocated bigint;
    settled bigint;
BEGIN
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
