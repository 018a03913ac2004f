-- The XA transactions that are prepared. MySQL tells whom it gave XA_RECOVER_ADMIN.
XA RECOVER
