-- Merge candles of one series into its cache key. Two keys, one slot, atomic. It follows the texts of journal.lua
-- and candle.lua.
--
-- KEYS[1]  candle key: sorted set, score = open time (ms), member = JSON
-- KEYS[2]  journal: stream of what was changed that was there
-- ARGV     symbol, timeframe, step (ms), max members (0 = unlimited), ttl (ms, 0 = none), trim (1 = cap the key),
--          channel for repair messages ('' = none), who merges, most entries of the journal, its life (ms),
--          n, then n pairs of open time and member JSON in ascending order,
--          m, then m pairs of open time and the member there that gives way to the one offered for the slot,
--          then open times to clean of duplicates, ascending
--
-- Returns  { outcome letters of the n candles, extra members removed, members removed that were no candle,
--            why a repair message was refused ('' = none was) }
--   I inserted   P present with the same values   D present with other values, kept   R refused: retention drops it
--   C changed: the member that was to give way was alone in its slot, and gave way
--
-- A candle is replaced only by that name: what was written there since wins. Of several candles in one slot the
-- greatest volume stays, then the greatest sequence. Values are compared as numbers: JavaScript writes 88000, Python
-- 88000.0.

local key = KEYS[1]
local symbol, timeframe, step = ARGV[1], ARGV[2], tonumber(ARGV[3])
local cap, ttl, trim = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local channel = ARGV[7]
local log = { key = KEYS[2], by = ARGV[8], most = ARGV[9], life = ARGV[10] }
local n = tonumber(ARGV[11])
local FIRST = 12
-- Lua hands at most about 8,000 values to one call
local FLUSH = 1000

local function same(a, b)
    for _, field in ipairs(PRICES) do
        if a[field] ~= b[field] then return false end
    end
    return true
end

local function better(a, b)
    if a.volume ~= b.volume then return a.volume > b.volume end
    return (tonumber(a.sequenceNum) or -1) > (tonumber(b.sequenceNum) or -1)
end

-- Slots are mostly empty, and a table of its own for each would cost more than all the rest.
local EMPTY = { valid = {}, foreign = {} }
local slots, lowest, highest = {}, nil, nil
local function ask(text)
    local at = tonumber(text)
    slots[at] = EMPTY
    lowest = lowest and math.min(lowest, at) or at
    highest = highest and math.max(highest, at) or at
    return at
end

local open_times, texts, members = {}, {}, {}
for i = 1, n do
    texts[i] = ARGV[FIRST + 2 * (i - 1)]
    open_times[i] = ask(texts[i])
    members[i] = ARGV[FIRST + 2 * (i - 1) + 1]
end
local at = FIRST + 2 * n
local yielding, last_yielding = {}, at + 2 * tonumber(ARGV[at])
for i = at + 1, last_yielding, 2 do yielding[tonumber(ARGV[i])] = ARGV[i + 1] end
local cleaned = {}
for i = last_yielding + 1, #ARGV do
    cleaned[#cleaned + 1] = ask(ARGV[i])
end
if lowest == nil then return { '', 0, 0, '' } end

local pttl = redis.call('PTTL', key)
local text = function(number) return string.format('%.0f', number) end
local found = redis.call('ZRANGEBYSCORE', key, text(lowest), text(highest), 'WITHSCORES')
for i = 1, #found, 2 do
    local score = tonumber(found[i + 1])
    local slot = slots[score]
    if slot then
        if slot == EMPTY then
            slot = { valid = {}, foreign = {} }
            slots[score] = slot
        end
        local candle = candle_of(found[i], score, symbol, timeframe)
        if candle then
            candle.member = found[i]
            table.insert(slot.valid, candle)
        else
            table.insert(slot.foreign, found[i])
        end
    end
end

local removed, added = {}, {}
local extra, foreign = 0, 0

local function remove(open_time, old, new, why)
    removed[#removed + 1] = old
    journal(log, text(open_time), text(open_time + step), old, new, why)
end

-- Leave one candle in a slot that holds several, and nothing beside it that is no candle.
local function settle(slot)
    local best = slot.valid[1]
    for i = 2, #slot.valid do
        if better(slot.valid[i], best) then best = slot.valid[i] end
    end
    for _, candle in ipairs(slot.valid) do
        if candle ~= best then
            remove(best.timestamp, candle.member, best.member, 'duplicate')
            extra = extra + 1
        end
    end
    for _, member in ipairs(slot.foreign) do
        remove(best.timestamp, member, best.member, 'foreign')
        foreign = foreign + 1
    end
    slot.valid, slot.foreign = { best }, {}
end

-- Newest first, so that each candle knows how many newer ones it joins.
local outcome, newer = {}, 0
for i = n, 1, -1 do
    local slot = slots[open_times[i]]
    if #slot.valid > 0 then
        local alone = #slot.valid == 1 and #slot.foreign == 0
        settle(slot)
        local there = slot.valid[1]
        if same(there, cjson.decode(members[i])) then
            outcome[i] = 'P'
        elseif alone and there.member == yielding[open_times[i]] then
            outcome[i] = 'C'
            remove(open_times[i], there.member, members[i], 'repaired')
            added[#added + 1] = texts[i]
            added[#added + 1] = members[i]
        else
            outcome[i] = 'D'
        end
    elseif cap > 0 and redis.call('ZCOUNT', key, '(' .. texts[i], '+inf') + newer >= cap then
        outcome[i] = 'R'
    else
        outcome[i] = 'I'
        newer = newer + 1
        added[#added + 1] = texts[i]
        added[#added + 1] = members[i]
        for _, member in ipairs(slot.foreign) do
            remove(open_times[i], member, members[i], 'foreign')
            foreign = foreign + 1
        end
    end
end
for _, at in ipairs(cleaned) do
    if #slots[at].valid > 0 then settle(slots[at]) end
end

local function flush(command, list)
    for i = 1, #list, FLUSH do
        redis.call(command, key, unpack(list, i, math.min(i + FLUSH - 1, #list)))
    end
end
flush('ZREM', removed)
flush('ZADD', added)
if trim and cap > 0 then redis.call('ZREMRANGEBYRANK', key, 0, -(cap + 1)) end

-- A life that is there is prolonged, never cut short; a key made here gets the configured one.
if ttl > 0 and #added > 0 and (pttl == -2 or (pttl >= 0 and pttl < ttl)) then
    redis.call('PEXPIRE', key, text(ttl))
end

-- What is written stands by now: a user who may not publish must not leave it half done.
local refused = ''
if channel ~= '' then
    local start, count = nil, 0
    for i = 1, n + 1 do
        local joins = i <= n and (outcome[i] == 'I' or outcome[i] == 'C')
        if start and not (joins and open_times[i] == start + count * step) then
            local sent = redis.pcall('PUBLISH', channel, string.format('{"start":%.0f,"stop":%.0f,"count":%d}',
                start, start + count * step, count))
            if type(sent) == 'table' then refused = sent.err end
            start = nil
        end
        if joins then
            if not start then start, count = open_times[i], 0 end
            count = count + 1
        end
    end
end

return { table.concat(outcome), extra, foreign, refused }
