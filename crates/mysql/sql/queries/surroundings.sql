-- What server this is, its clock, who is connected from where, and what the database's own tables would be made with.
SELECT
    VERSION(),
    UTC_TIMESTAMP(6),
    USER(),
    default_character_set_name,
    default_collation_name
FROM information_schema.schemata
WHERE schema_name = DATABASE()
