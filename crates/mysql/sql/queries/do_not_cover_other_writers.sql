-- Drop the trigger: only this library's appends take gates.
DROP TRIGGER trigger_events_gate
