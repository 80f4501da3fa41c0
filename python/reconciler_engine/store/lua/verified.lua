-- Digests of verified members as fields of a series' evidence, one field per block of slots (verified_fields.py
-- describes the bytes), and the removal of old fields. Needs the text of doubt.lua before it.

local BLOCK, DIGEST, VERSION = 60, 12, '\1'
local NO_BLOCK = VERSION .. ('\0'):rep(BLOCK * (DIGEST + 4))
-- Format of the digests, then of the instants.
local CELLS = ('c' .. DIGEST):rep(BLOCK) .. ('c4'):rep(BLOCK)

local function digest_of(member) return redis.sha1hex(member):sub(1, DIGEST) end

local function read_block(evidence, name)
    local body = redis.call('HGET', evidence, name)
    return body and #body == #NO_BLOCK and body:sub(1, 1) == VERSION and body or NO_BLOCK
end

-- Return the name of the field of a slot's block, and the slot's number in the block.
local function place_of(open_time, step)
    return string.format('v%.0f', math.floor(open_time / (BLOCK * step))), open_time / step % BLOCK
end

local function is_verified(evidence, step, open_time, member)
    local name, number = place_of(open_time, step)
    local at = 2 + number * DIGEST
    return read_block(evidence, name):sub(at, at + DIGEST - 1) == digest_of(member)
end

-- Note members as verified: slots is a list of { open time, digest }, instant when the exchange was asked (s). Returns
-- the open times of members that were not verified before.
local function note_verified(evidence, step, slots, instant)
    local newly, blocks, at = {}, {}, struct.pack('<I4', instant)
    for _, slot in ipairs(slots) do
        local open_time, digest = slot[1], slot[2]
        local name, number = place_of(open_time, step)
        -- unpack returns one more value after the cells, the next position; it is not written back.
        local cells = blocks[name] or { struct.unpack(CELLS, read_block(evidence, name), 2) }
        blocks[name] = cells
        if cells[number + 1] ~= digest then newly[#newly + 1] = open_time end
        cells[number + 1], cells[BLOCK + number + 1] = digest, at
    end
    for name, cells in pairs(blocks) do
        redis.call('HSET', evidence, name, VERSION .. table.concat(cells, '', 1, 2 * BLOCK))
    end
    return newly
end

-- Delete days beyond `days_kept`, and blocks without any member left.
local function sweep(evidence, key, step, days_kept)
    local oldest = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    local newest = tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
    local days, names = {}, {}
    for _, name in ipairs(redis.call('HKEYS', evidence)) do
        local day = is_day(name:gsub('^e', '')) and tonumber((name:gsub('^e', '')))
        if day and not names[day] then
            names[day] = { string.format('e%.0f', day), string.format('%.0f', day) }
            days[#days + 1] = day
        end
        local block = #name <= 12 and tonumber(name:match('^v(%d+)$'))
        if block then
            local start = block * BLOCK * step
            local has_members = oldest and start <= newest and start + BLOCK * step > oldest
            if not has_members then redis.call('HDEL', evidence, name) end
        end
    end
    table.sort(days)
    for i = 1, #days - days_kept do redis.call('HDEL', evidence, unpack(names[days[i]])) end
end
