-- Whether this user has the right to see the triggers of events, as far as its own grants tell: those of its roles are not counted. Without
-- the right, the server shows no trigger.
SELECT EXISTS (
    SELECT 1
    FROM (
        SELECT grantee
        FROM information_schema.user_privileges
        WHERE privilege_type = 'TRIGGER'
        UNION ALL
        SELECT grantee
        FROM information_schema.schema_privileges
        WHERE privilege_type = 'TRIGGER'
          AND DATABASE() LIKE table_schema
        UNION ALL
        SELECT grantee
        FROM information_schema.table_privileges
        WHERE privilege_type = 'TRIGGER'
          AND table_schema = DATABASE()
          AND table_name = 'events'
    ) AS granted
    WHERE grantee = CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')
)
