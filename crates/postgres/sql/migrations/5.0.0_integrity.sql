-- Ours: snapshots belong to a tenant and have a checksum, as events do; an aggregate type's events in the order of the log;
-- and the high-water mark, by announce and look.
ALTER TABLE snapshots ADD COLUMN IF NOT EXISTS tenant_id VARCHAR(255);
ALTER TABLE snapshots ADD COLUMN IF NOT EXISTS checksum VARCHAR(64);

DROP INDEX IF EXISTS idx_events_aggregate_type;
CREATE INDEX IF NOT EXISTS idx_events_aggregate_type ON events (aggregate_type, global_sequence);

-- Announce: before a transaction's first sequence is allocated, it takes a shared lock that names the last one that was
-- allocated until then. Whatever it allocates is greater, so a reader that sees the lock stops there. A statement's trigger
-- fires before any of its defaults is computed, also for COPY, and for writers that are not this library.
CREATE OR REPLACE FUNCTION firefly_announce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Once per transaction, or thousands of appends in one would use up the lock table. Rolling back to a savepoint
    -- forgets the setting and releases the lock alike.
    announced CONSTANT text := 'firefly.announced_' || TG_RELID;
    allocated bigint;
    -- Calls are assigned: PERFORM would run a query for each, which takes several times as long.
    done text;
BEGIN
    IF current_setting(announced, true) IS DISTINCT FROM 'yes' THEN
        allocated := COALESCE(pg_sequence_last_value(format('%I.events_global_sequence_seq', TG_TABLE_SCHEMA)::regclass), 0);
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
    allocated := COALESCE(pg_sequence_last_value('events_global_sequence_seq'::regclass), 0);
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
