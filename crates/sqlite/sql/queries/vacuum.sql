-- Write the database anew, without the room that deleted and updated rows left. Row ids that are a key stay.
VACUUM;
