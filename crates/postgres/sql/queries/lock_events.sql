-- Wait for writers of events to finish, and block others until this transaction ends. They wait before they allocate a sequence, because a
-- statement locks its table before its triggers and defaults run. Readers continue.
LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
