-- Remove the summaries of aggregates that are no more: somebody deleted their events.
DELETE FROM mv_aggregate_summary
WHERE NOT EXISTS (
    SELECT 1
    FROM events /* or their keys */ AS live
    WHERE live.aggregate_id = mv_aggregate_summary.aggregate_id
)
