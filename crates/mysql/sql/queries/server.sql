-- The version of the server, and whether it accepts writes. Newer versions of MariaDB have more values than ON and OFF.
SELECT
    VERSION(),
    CAST(@@global.read_only AS CHAR) IN ('0', 'OFF')
