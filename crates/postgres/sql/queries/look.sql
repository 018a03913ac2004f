-- Whether the search path leads to the table of events that the connection was opened for. Unlike firefly_here(), this is exact shortly
-- after a conversion, too.
SELECT 'events'::regclass::oid::text = current_setting('firefly.store');
