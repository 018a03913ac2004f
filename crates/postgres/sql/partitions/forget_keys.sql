-- Stop keeping keys of events: the table of events has them itself.
DO $do$
BEGIN
    IF to_regprocedure('firefly_forget_prepared()') IS NOT NULL THEN
        PERFORM firefly_forget_prepared();
    END IF;
END;
$do$;
DROP TRIGGER IF EXISTS trigger_events_keys ON events;
DROP TRIGGER IF EXISTS trigger_events_keys_deleted ON events;
DROP TRIGGER IF EXISTS trigger_events_keys_updated ON events;
DROP TRIGGER IF EXISTS trigger_events_keys_truncated ON events;
DROP FUNCTION IF EXISTS firefly_keep_keys();
DROP FUNCTION IF EXISTS firefly_forget_keys();
DROP FUNCTION IF EXISTS firefly_correct_keys();
DROP FUNCTION IF EXISTS firefly_forget_all_keys();
DROP FUNCTION IF EXISTS firefly_merge_empty_partitions();
DROP FUNCTION IF EXISTS firefly_bound_partition(regclass, bigint, bigint);
DROP FUNCTION IF EXISTS firefly_split_last_partition(bigint, regclass);
DROP FUNCTION IF EXISTS firefly_add_last_partition(bigint);
DROP FUNCTION IF EXISTS firefly_ranges();
DROP FUNCTION IF EXISTS firefly_add_types(regclass, text[]);
DROP FUNCTION IF EXISTS firefly_forget_prepared();
DROP FUNCTION IF EXISTS firefly_equip_partition(regclass);
DROP TABLE IF EXISTS firefly_event_keys, firefly_partitions;
