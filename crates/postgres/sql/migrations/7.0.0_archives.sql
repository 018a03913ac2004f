-- Ours: archives. Events that were moved out of the log into a file leave their keys here, so that versions go on and no event is stored
-- twice. An event is in the log or here, never in both.

-- Where archived events went. A row is there before the first of its events is moved, and until the last is back.
CREATE TABLE IF NOT EXISTS firefly_archives (
    digest           VARCHAR(64) PRIMARY KEY,
    first_sequence   BIGINT NOT NULL CHECK (first_sequence > 0),
    last_sequence    BIGINT NOT NULL CHECK (last_sequence >= first_sequence),
    events           BIGINT NOT NULL CHECK (events > 0),
    first_created_at TIMESTAMPTZ NOT NULL,
    last_created_at  TIMESTAMPTZ NOT NULL,
    location         TEXT NOT NULL,
    archived_at      TIMESTAMPTZ NOT NULL,
    log_events       BIGINT CHECK (log_events > 0),
    log_digest       VARCHAR(64),
    retired          BOOLEAN NOT NULL DEFAULT false
);

-- What of a stream is archived: its versions from 1 to this one. None of them was created later than the last column says.
CREATE TABLE IF NOT EXISTS firefly_archived_streams (
    aggregate_id   UUID PRIMARY KEY,
    aggregate_type VARCHAR(255) NOT NULL,
    tenant_id      VARCHAR(255),
    version        BIGINT NOT NULL CHECK (version > 0),
    last_event_id  UUID NOT NULL,
    first_sequence BIGINT NOT NULL CHECK (first_sequence > 0),
    last_sequence  BIGINT NOT NULL CHECK (last_sequence >= first_sequence),
    created_until  TIMESTAMPTZ NOT NULL
);

-- The fingerprint tells a repeated append from another one with the same id.
CREATE TABLE IF NOT EXISTS firefly_archived_events (
    global_sequence   BIGINT PRIMARY KEY CHECK (global_sequence > 0),
    event_id          UUID NOT NULL,
    aggregate_id      UUID NOT NULL,
    aggregate_version BIGINT NOT NULL CHECK (aggregate_version > 0),
    fingerprint       BYTEA NOT NULL CHECK (octet_length(fingerprint) = 32)
);

CREATE UNIQUE INDEX IF NOT EXISTS idx_archived_events_event_id ON firefly_archived_events (event_id);
CREATE UNIQUE INDEX IF NOT EXISTS idx_archived_events_version ON firefly_archived_events (aggregate_id, aggregate_version);

-- Every append and every read looks here: whoever may read the events by now may read these too.
DO $$
DECLARE
    reader text;
BEGIN
    FOR reader IN
        SELECT DISTINCT CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
        FROM pg_class
        CROSS JOIN LATERAL aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'events'::regclass
          AND acl.privilege_type = 'SELECT'
          AND acl.grantee <> relowner
    LOOP
        EXECUTE format('GRANT SELECT ON firefly_archives, firefly_archived_streams, firefly_archived_events TO %s', reader);
    END LOOP;
END;
$$;
