-- Let nobody else write events until this transaction ends, to move some out of the log or back. Appends that come meanwhile wait for this
-- one, so it waits no longer than 50 ms for those that are at work. Before that, it waits for what holds no append up, such as a
-- vacuum: one that the server began by itself gives way after a second (`deadlock_timeout`).
SET LOCAL lock_timeout = '5s';
LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE;
SET LOCAL lock_timeout = '50ms';
LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
