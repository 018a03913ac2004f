-- An aggregate that breaks the promises: its versions have a hole, or are not in the order of the log, or it has several owners.
SELECT aggregate_id
FROM events
GROUP BY aggregate_id
HAVING MAX(aggregate_version) <> COUNT(*)
    OR COUNT(DISTINCT aggregate_type) > 1
    OR COUNT(DISTINCT COALESCE(tenant_id, '')) > 1
UNION ALL
SELECT later.aggregate_id
FROM events AS later
JOIN events AS earlier
  ON earlier.aggregate_id = later.aggregate_id
 AND earlier.aggregate_version = later.aggregate_version - 1
WHERE earlier.global_sequence > later.global_sequence
LIMIT 1;
