-- Whether partitions may be replaced: this role needs rights, and the server has to keep rows that older snapshots see.
SELECT has_table_privilege('firefly_leaving', 'INSERT, DELETE')
    AND COALESCE(current_setting('old_snapshot_threshold', true), '-1') = '-1' AS may_replace
WHERE firefly_here();
