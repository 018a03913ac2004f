-- The prepared XA transactions. MySQL answers only users with XA_RECOVER_ADMIN.
XA RECOVER
