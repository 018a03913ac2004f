-- Insert a slot of a consumer that nobody holds; one that is there stays as it is.
-- ?1 name · ?2 slot · ?3 position · ?4 state · ?5 definition · ?6 now
INSERT INTO main.firefly_consumers (
    name,
    slot,
    position,
    state,
    definition,
    updated_at
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (name, slot) DO NOTHING;
