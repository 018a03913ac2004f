-- Block other writers of events until this transaction ends, to move events out of the log or back. Later appends wait for this lock
-- request, so it waits no longer than 25 ms for running ones. Before that, it waits for operations that do not block appends, such as a
-- vacuum; an automatic vacuum gives way after a second (`deadlock_timeout`).
SET LOCAL lock_timeout = '5s';
LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE;
SET LOCAL lock_timeout = '25ms';
LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
