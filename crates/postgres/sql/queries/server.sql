-- The version of the server, and whether it accepts writes.
SELECT
    current_setting('server_version'),
    current_setting('transaction_read_only') = 'off';
