-- Whether any event is archived.
SELECT EXISTS (
    SELECT 1
    FROM firefly_archived_streams
)
