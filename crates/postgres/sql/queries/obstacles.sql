-- What may hide a row that conflicts with an append: an older snapshot, or row level security.
SELECT
    current_setting('transaction_isolation') <> 'read committed' AS snapshot,
    row_security_active('events') AS security;
