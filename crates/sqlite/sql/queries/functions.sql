-- The names of the functions that statements may call.
SELECT DISTINCT name
FROM pragma_function_list;
