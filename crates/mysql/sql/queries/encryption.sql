-- How this connection is encrypted; empty if it is not.
SHOW SESSION STATUS LIKE 'Ssl_cipher'
