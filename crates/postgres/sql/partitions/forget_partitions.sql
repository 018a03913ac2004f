-- Drop the partitioned table. Its events are in one table now.
DROP FUNCTION IF EXISTS firefly_stream(uuid, bigint, bigint, bigint, boolean);
DROP TABLE IF EXISTS firefly_partitioned_events;
DROP FUNCTION IF EXISTS firefly_refuse_partition();
