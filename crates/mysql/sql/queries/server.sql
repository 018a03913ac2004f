-- The version of the server, and whether it accepts writes.
SELECT
    VERSION(),
    @@global.read_only = 0
