-- The server, its clock, the user and host of the connection, and the defaults for new tables in the database.
SELECT
    VERSION(),
    UTC_TIMESTAMP(6),
    USER(),
    default_character_set_name,
    default_collation_name
FROM information_schema.schemata
WHERE schema_name = DATABASE()
