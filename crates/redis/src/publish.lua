-- Adds events to a stream, in their order and each once, all that can be added.
-- KEYS[1] the stream · ARGV[1] the owner's number · ARGV[2] the last sequence that this publisher knows to be there, or 0 ·
-- ARGV[3] MAXLEN, or 0 · then for each event: its sequence, how many names and values follow, and these.
-- Returns what became of it, and the id of the stream's last entry before. The first error ends it, so that no event is added
-- after one that was not.
local key, owner, known, longest = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

-- Sequences are compared as text: Lua's numbers are exact up to 2^53 only.
local function is_before(a, b)
    return #a < #b or (#a == #b and a < b)
end

local function is_error(reply)
    return type(reply) == 'table' and reply.err
end

local id, last = '0-0', '0'
if redis.call('EXISTS', key) == 1 then
    local stream = redis.pcall('XINFO', 'STREAM', key)
    if is_error(stream) then
        return stream
    end
    for i = 1, #stream, 2 do
        if stream[i] == 'last-generated-id' then
            id = stream[i + 1]
        end
    end
    local number
    last, number = string.match(id, '^(%d+)-(%d+)$')
    if id ~= '0-0' and number ~= owner then
        return { 'another', id }
    end
end
if is_before(last, known) and is_before(known, ARGV[4]) then
    return { 'lost', id }
end

local is_changed = false
local i = 4
while ARGV[i] do
    local sequence, count = ARGV[i], tonumber(ARGV[i + 1])
    if is_before(last, sequence) then
        local add = { 'XADD', key }
        if longest > 0 then
            add = { 'XADD', key, 'MAXLEN', '~', ARGV[3] }
        end
        add[#add + 1] = sequence .. '-' .. owner
        for value = i + 2, i + 1 + count do
            add[#add + 1] = ARGV[value]
        end
        local added = redis.pcall(unpack(add))
        if is_error(added) then
            return added
        end
        is_changed = true
    end
    i = i + 2 + count
end
-- What is there already may come from a file that was written and not synced before the server died. A write syncs all of it.
if not is_changed then
    local set = redis.pcall('XSETID', key, id)
    if is_error(set) then
        return set
    end
end
return { 'published', id }
