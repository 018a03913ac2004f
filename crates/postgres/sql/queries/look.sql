-- Whether the search path leads to the table of events that the connection was opened for, also shortly after a conversion.
SELECT 'events'::regclass::oid::text = current_setting('firefly.store');
