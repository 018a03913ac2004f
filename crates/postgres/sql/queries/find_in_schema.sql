-- Set the search path to a schema, until the transaction ends.
-- $1 schema
SELECT set_config('search_path', quote_ident($1), true);
