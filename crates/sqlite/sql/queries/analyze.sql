-- Update the planner's statistics of tables and indexes. Reads as many rows of each index as the analysis limit allows.
ANALYZE;
