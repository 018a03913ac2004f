-- Count again what the planner knows of tables and indexes: of each index as many rows as the analysis limit allows.
ANALYZE;
