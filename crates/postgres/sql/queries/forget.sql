-- Undo what somebody's work may have left on a connection: who it is, settings, cursors, notifications, session-level locks and
-- temporary tables. First the settings, one of which may be a time limit for the rest.
RESET SESSION AUTHORIZATION;
RESET ALL;
RESET ROLE;
CLOSE ALL;
UNLISTEN *;
SELECT pg_advisory_unlock_all();
DISCARD TEMP;
