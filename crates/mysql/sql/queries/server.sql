-- The version of the server, and whether it accepts writes. Newer MariaDB has more than ON and OFF for that.
SELECT
    VERSION(),
    CAST(@@global.read_only AS CHAR) IN ('0', 'OFF')
