-- Insert a free slot of a consumer. An existing slot does not change.
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
