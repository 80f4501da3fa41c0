-- Write one series: merge candles into its cache key and note what is known of its slots, both or neither. Three keys,
-- one slot, atomic. It follows the texts of journal.lua and candle.lua.
--
-- KEYS     candle key: sorted set, score = open time (ms), member = JSON
--          evidence key: hash, field = day since the epoch, value = that day's findings; `late` = late candles so far
--          journal: stream of what was changed that was there
-- ARGV[1]  JSON object; instants and lengths in ms:
--          symbol, timeframe, step
--          max_candles (0 = unlimited), ttl (0 = none), trim (whether to cap the key)
--          channel for repair messages ('' = none)
--          by (author of the write), most_entries and life of the journal
--          candles     how many are offered
--          yielding    open times of candles offered that may take the place of a member, ascending
--          duplicated  open times to clean of duplicates, and of what is no candle beside one, ascending
--          doubts      open times whose members are to be as they were read
--          absent      { first, last open time } of each span that is to have no candle
--          days        { day, SHA-1 of its findings as they were read, '' for none } of each day written
--          days_kept, days_life; late (candles to count as late)
--          by_hand     { start, stop, what was known, what is known now, why } of each change by hand
-- ARGV     then texts, in the order of those lists: open time and member of each candle, ascending; the member that
--          gives way of each yielding; the member of each doubt; the findings of each day, '' for none
--
-- Returns  { 'done', outcome letters of the candles, extra members removed, members removed that were no candle,
--            why a repair message was refused ('' = none was) }
--          { 'changed', the findings of those days now }    somebody else wrote them since; nothing was done
--          { 'moved', open times }                          other members there by now; nothing was done
--          { 'present', open times }                        candles in those spans; nothing was done
--   I inserted   P present with the same values   D present with other values, kept   R refused: retention drops it
--   C changed: the member that was to give way was alone in its slot, and gave way
--
-- A candle is replaced only by that name: what was written there since wins. Of several candles in one slot the
-- greatest volume stays, then the greatest sequence. A member belongs to the slot its score falls in, from one open time
-- to the next. Values are compared as numbers: JavaScript writes 88000, Python 88000.0; volumes are the same to 1e-8 of
-- the greater, since a feeder sums trades.

local key, evidence = KEYS[1], KEYS[2]
local plan = cjson.decode(ARGV[1])
local symbol, timeframe, step, cap = plan.symbol, plan.timeframe, plan.step, plan.max_candles
local log = { key = KEYS[3], by = plan.by, most = plan.most_entries, life = plan.life }
local kind_of = rule_of(symbol, timeframe, step)
local FIRST = 2
-- Lua hands at most about 8,000 values to one call
local FLUSH = 1000

local function text(number) return string.format('%.0f', number) end

local function flush(command, list)
    for i = 1, #list, FLUSH do
        redis.call(command, key, unpack(list, i, math.min(i + FLUSH - 1, #list)))
    end
end

-- Days since the epoch of at most five digits; other fields are none of ours.
local function is_day(name) return #name <= 5 and name:match('^%d+$') ~= nil end

-- Where the texts of each list begin in ARGV.
local yielding_at = FIRST + 2 * plan.candles
local doubts_at = yielding_at + #plan.yielding
local days_at = doubts_at + #plan.doubts

-- Somebody else may have learnt something of these days since they were read,
if #plan.days > 0 then
    local names = {}
    for i, day in ipairs(plan.days) do names[i] = text(day[1]) end
    local found = redis.call('HMGET', evidence, unpack(names))
    for i, day in ipairs(plan.days) do
        if (found[i] and redis.sha1hex(found[i]) or '') ~= day[2] then return { 'changed', found } end
    end
end

-- and a feeder may have written after we looked: another candle into a slot that was judged,
local moved = {}
for i, open_time in ipairs(plan.doubts) do
    local found = redis.call('ZRANGEBYSCORE', key, text(open_time), '(' .. text(open_time + step))
    if #found ~= 1 or found[1] ~= ARGV[doubts_at + i - 1] then moved[#moved + 1] = text(open_time) end
end
if #moved > 0 then return { 'moved', moved } end

-- or the first one. What is no candle of its slot leaves it absent, as for every reader.
local present, absent = {}, plan.absent
if #absent > 0 and redis.call('ZCOUNT', key, text(absent[1][1]), text(absent[#absent][2])) > 0 then
    for _, span in ipairs(absent) do
        local found = redis.call('ZRANGEBYSCORE', key, text(span[1]), text(span[2]), 'WITHSCORES')
        for i = 1, #found, 2 do
            if kind_of(found[i], found[i + 1]) then present[#present + 1] = found[i + 1] end
        end
    end
end
if #present > 0 then return { 'present', present } end

-- Slots are mostly empty, and a table of its own for each would cost more than all the rest.
local EMPTY = { valid = {}, foreign = {} }
local slots, lowest, highest = {}, nil, nil
local function ask(open_time)
    slots[open_time] = EMPTY
    lowest = lowest and math.min(lowest, open_time) or open_time
    highest = highest and math.max(highest, open_time) or open_time
end

local open_times, texts, members = {}, {}, {}
for i = 1, plan.candles do
    local at = FIRST + 2 * (i - 1)
    texts[i], members[i] = ARGV[at], ARGV[at + 1]
    open_times[i] = tonumber(texts[i])
    ask(open_times[i])
end
local yielding = {}
for i, open_time in ipairs(plan.yielding) do yielding[open_time] = ARGV[yielding_at + i - 1] end
for _, open_time in ipairs(plan.duplicated) do ask(open_time) end

local function candle_of(member, score)
    local kind, open, high, low, close, volume = kind_of(member, score)
    return kind and { open_time = tonumber(score), member = member, open = open, high = high, low = low, close = close,
        volume = volume }
end

-- Read the members that the cache has in those slots.
local function read_slots()
    local found = redis.call('ZRANGEBYSCORE', key, text(lowest), '(' .. text(highest + step), 'WITHSCORES')
    for i = 1, #found, 2 do
        local open_time = math.floor(found[i + 1] / step) * step
        local slot = slots[open_time]
        if slot then
            if slot == EMPTY then
                slot = { valid = {}, foreign = {} }
                slots[open_time] = slot
            end
            local candle = candle_of(found[i], found[i + 1])
            if candle then
                table.insert(slot.valid, candle)
            else
                table.insert(slot.foreign, found[i])
            end
        end
    end
end

local removed, added = {}, {}
local extra, foreign = 0, 0

local function remove(open_time, old, new, why)
    removed[#removed + 1] = old
    journal(log, text(open_time), text(open_time + step), old, new, why)
end

local function add(i)
    added[#added + 1] = texts[i]
    added[#added + 1] = members[i]
end

local function same(a, b)
    return a.open == b.open and a.high == b.high and a.low == b.low and a.close == b.close
        and math.abs(a.volume - b.volume) <= 1e-8 * math.max(a.volume, b.volume)
end

local function sequence_of(candle) return number_in(fields_of(candle.member).sequenceNum) or -1 end

local function better(a, b)
    if a.volume ~= b.volume then return a.volume > b.volume end
    return sequence_of(a) > sequence_of(b)
end

-- Leave one candle in a slot that has several, and nothing beside it that is no candle.
local function settle(slot)
    local best = slot.valid[1]
    for i = 2, #slot.valid do
        if better(slot.valid[i], best) then best = slot.valid[i] end
    end
    for _, candle in ipairs(slot.valid) do
        if candle ~= best then
            remove(best.open_time, candle.member, best.member, 'duplicate')
            extra = extra + 1
        end
    end
    for _, member in ipairs(slot.foreign) do
        remove(best.open_time, member, best.member, 'foreign')
        foreign = foreign + 1
    end
    slot.valid, slot.foreign = { best }, {}
end

-- The outcome letter of a candle whose slot has another.
local function meet(i, slot)
    local alone = #slot.valid == 1 and #slot.foreign == 0
    settle(slot)
    local there = slot.valid[1]
    if same(there, candle_of(members[i], texts[i])) then return 'P' end
    if not alone or there.member ~= yielding[open_times[i]] then return 'D' end
    remove(open_times[i], there.member, members[i], 'repaired')
    add(i)
    return 'C'
end

for _, change in ipairs(plan.by_hand) do
    journal(log, text(change[1]), text(change[2]), change[3], change[4], change[5])
end

-- Newest first, so that each candle knows how many newer ones it joins.
local outcome, newer = {}, 0
local pttl = -1
if lowest then
    pttl = redis.call('PTTL', key)
    read_slots()
end
for i = plan.candles, 1, -1 do
    local slot = slots[open_times[i]]
    if #slot.valid > 0 then
        outcome[i] = meet(i, slot)
    elseif cap > 0 and redis.call('ZCOUNT', key, '(' .. texts[i], '+inf') + newer >= cap then
        outcome[i] = 'R'
    else
        outcome[i] = 'I'
        newer = newer + 1
        add(i)
        for _, member in ipairs(slot.foreign) do
            remove(open_times[i], member, members[i], 'foreign')
            foreign = foreign + 1
        end
    end
end
for _, open_time in ipairs(plan.duplicated) do
    if #slots[open_time].valid > 0 then settle(slots[open_time]) end
end

flush('ZREM', removed)
flush('ZADD', added)
if lowest and plan.trim and cap > 0 then redis.call('ZREMRANGEBYRANK', key, 0, text(-(cap + 1))) end

-- A life that is there is prolonged, never cut short; a key made here gets the configured one.
if plan.ttl > 0 and #added > 0 and (pttl == -2 or (pttl >= 0 and pttl < plan.ttl)) then
    redis.call('PEXPIRE', key, text(plan.ttl))
end

for i, day in ipairs(plan.days) do
    local body = ARGV[days_at + i - 1]
    if body == '' then
        redis.call('HDEL', evidence, text(day[1]))
    else
        redis.call('HSET', evidence, text(day[1]), body)
    end
end
if plan.late > 0 then
    -- Another value would stop the script half done.
    local count = redis.call('HGET', evidence, 'late')
    if count and not (#count <= 15 and count:match('^%d+$')) then redis.call('HDEL', evidence, 'late') end
    redis.call('HINCRBY', evidence, 'late', text(plan.late))
end
if #plan.days > 0 or plan.late > 0 then
    if redis.call('HLEN', evidence) > plan.days_kept + 1 then
        local days = {}
        for _, day in ipairs(redis.call('HKEYS', evidence)) do
            if is_day(day) then days[#days + 1] = day end
        end
        table.sort(days, function(a, b) return tonumber(a) < tonumber(b) end)
        for i = 1, #days - plan.days_kept do redis.call('HDEL', evidence, days[i]) end
    end
    redis.call('PEXPIRE', evidence, text(plan.days_life))
end

-- The write stands by now: a user without the right to publish must not leave it half done.
local refused = ''
if plan.channel ~= '' then
    local start, count = nil, 0
    for i = 1, plan.candles + 1 do
        local joins = outcome[i] == 'I' or outcome[i] == 'C'
        if start and not (joins and open_times[i] == start + count * step) then
            local sent = redis.pcall('PUBLISH', plan.channel, string.format('{"start":%.0f,"stop":%.0f,"count":%d}',
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

return { 'done', table.concat(outcome), extra, foreign, refused }
