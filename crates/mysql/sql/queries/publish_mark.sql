-- Publish a proved high-water mark. A published mark never goes back.
-- ? global_sequence
INSERT INTO firefly_published_mark (id, global_sequence, published_at)
VALUES (1, ?, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE
    global_sequence = GREATEST(global_sequence, VALUES(global_sequence)),
    published_at = GREATEST(published_at, VALUES(published_at))
