-- Reset what the caller's work may have left on a connection: its role, settings, cursors, notifications, session-level locks and temporary
-- tables. Settings come first, because one of them may be a time limit for the rest.
RESET SESSION AUTHORIZATION;
RESET ALL;
RESET ROLE;
CLOSE ALL;
UNLISTEN *;
SELECT pg_advisory_unlock_all();
DISCARD TEMP;
