-- Let nobody else write events until this transaction ends, once those who do are done: before they allocate a sequence, since a
-- statement locks its table before its triggers and defaults. Readers go on.
LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
