-- Append events: the rows are added to this, each with its values bound.
-- The first row of an aggregate computes its version by looking up the version before it, also as the last one that is archived; where
-- that is not there, or is somebody else's, the version is NULL, which is refused (1048) before anything is stored. The first row of all
-- also takes the gate of the moment, which happens before a sequence is allocated, and keeps it until the commit. If the gate tells that
-- events are archived, the version is NULL, too, where one of the ids is archived, or a version that is to be stored.
-- Where nothing is archived, as far as the store knows, one subquery looks up the version and takes the gate.
-- If appends of several threads share the statement, its first row checks the versions of all their aggregates, without waiting for a lock.
-- MySQL's table of open transactions keeps the first 1,024 bytes of each statement. The table cannot be read while one of them has a binary
-- value, such as an id, within those bytes. This comment is so long that the values come after them: an append that waits does not keep
-- `diagnose()` from finding open transactions.
-- A violated unique key (1062) means that a concurrent append won, or that an event id is stored already.
INSERT INTO events (
    event_id,
    aggregate_id,
    aggregate_type,
    aggregate_version,
    event_type,
    event_data,
    metadata,
    created_at,
    created_by,
    tenant_id,
    correlation_id,
    causation_id,
    checksum
)
VALUES
