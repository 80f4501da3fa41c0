-- Write one series: merge candles into its cache key and note the findings on its slots, in one atomic step. Four keys
-- in one slot. Needs the texts of journal.lua, feed.lua, candle.lua, origin.lua, doubt.lua and verified.lua before it.
--
-- KEYS     candle key: sorted set, score = open time (ms), member = JSON
--          evidence key: hash; evidence_fields.py describes its fields
--          journal: stream of changes, each with the old contents
--          feed: stream of the slots that were changed, for other programs
-- ARGV[1]  JSON object; instants and lengths in ms:
--          symbol, timeframe, step
--          max_candles (0 = unlimited), ttl (0 = none), trim (whether to cap the key)
--          channel for repair messages ('' = none)
--          close: the feeder's channel of closed bars ('' = none), and close_slots: first and end of the newest closed
--          slots; a candle written among them publishes the newest one there
--          by (author of the write), most_entries and life of the journal
--          feed        { entries kept at least, life } of the feed
--          judged      words of the feed for slots that became proved, or stopped being proved
--          candles     number of candles offered
--          yielding    open times of offered candles that may replace a member, ascending
--          duplicated  open times of slots to clean of duplicates, and of other members beside a candle, ascending
--          unmoved     open times of slots whose members must be as they were read
--          absent      { first, last open time } of each span that must have no candle
--          empty       the same of spans in `absent` that are proved empty; members that are not candles are removed
--          ghosts      open times of members to remove: the exchange does not have their candles
--          fields      { name, SHA-1 of its value as it was read, '' for none } of each field of the evidence written
--          days_kept, days_life; late (candles to count as late)
--          verified    open times of the slots whose member is as the exchange has it, ascending
--          verified_at (s): when the exchange was asked
--          by_hand     { start, stop, state before, state after, reason } of each change by the operator
-- ARGV     then texts, in the order of those lists: open time and member of each candle, ascending; the member to
--          replace of each yielding; the member of each unmoved and each ghost; the value of each field, '' for none;
--          the digests of the verified members, one after the other
--
-- Returns  { 'done', outcome letters of the candles, extra members removed, members removed that were not candles,
--            why a repair message was refused ('' = none was), open times noted as verified }
--          { 'changed', current values of the fields }      another process wrote one of them; nothing was done
--          { 'moved', open times }                          slots with other members than read; nothing was done
--          { 'present', open times }                        candles in spans of `absent`; nothing was done
--   I inserted   P present with the same values   D present with other values, kept   R refused: retention drops it
--   C changed: the member to replace was alone in its slot, and was replaced   W rewritten: as C, of a verified member
--
-- A candle is replaced only if its member is still the one given for yielding; a member written since is kept. Of
-- several candles in one slot, the one with the greatest volume is kept; of equal volumes, the greatest sequence. A
-- member belongs to the slot that its score falls in, from one open time to before the next. Values are compared as
-- numbers: JavaScript writes 88000, Python 88000.0. Volumes that differ by at most 1e-8 of the greater are equal, since
-- a feeder sums trades.

local key, evidence = KEYS[1], KEYS[2]
local plan = cjson.decode(ARGV[1])
local symbol, timeframe, step, cap = plan.symbol, plan.timeframe, plan.step, plan.max_candles
local log = { key = KEYS[3], by = plan.by, most = plan.most_entries, life = plan.life }
local kind_of = rule_of(symbol, timeframe, step)
local told = feed.open(KEYS[4], step, plan.feed[1], plan.feed[2])
local FIRST = 2
-- Lua passes at most about 8,000 values to one call
local FLUSH = 1000

local function text(number) return string.format('%.0f', number) end

local function flush(command, list)
    for i = 1, #list, FLUSH do
        redis.call(command, key, unpack(list, i, math.min(i + FLUSH - 1, #list)))
    end
end

-- Index in ARGV of the first text of each list.
local yielding_at = FIRST + 2 * plan.candles
local unmoved_at = yielding_at + #plan.yielding
local ghosts_at = unmoved_at + #plan.unmoved
local fields_at = ghosts_at + #plan.ghosts

-- Doubt evidence of another history of writes before anything is noted under the current one.
local history, noted_history
if #plan.fields > 0 or plan.late > 0 or #plan.verified > 0 then
    history, noted_history = doubt_others(evidence, function() return told end)
end

-- Stop if another process has changed the evidence since it was read,
if #plan.fields > 0 then
    local names = {}
    for i, field in ipairs(plan.fields) do names[i] = field[1] end
    local found = redis.call('HMGET', evidence, unpack(names))
    for i, field in ipairs(plan.fields) do
        if (found[i] and redis.sha1hex(found[i]) or '') ~= field[2] then return { 'changed', found } end
    end
end

-- or if a feeder has changed a judged slot since,
local moved = {}
local function check(open_time, member)
    local found = redis.call('ZRANGEBYSCORE', key, text(open_time), '(' .. text(open_time + step))
    if #found ~= 1 or found[1] ~= member then moved[#moved + 1] = text(open_time) end
end
for i, open_time in ipairs(plan.unmoved) do check(open_time, ARGV[unmoved_at + i - 1]) end
for i, open_time in ipairs(plan.ghosts) do check(open_time, ARGV[ghosts_at + i - 1]) end
if #moved > 0 then return { 'moved', moved } end

-- or has written a candle into an absent one. A slot with only fillers or malformed members stays absent.
local present, junk, absent = {}, {}, plan.absent
if #absent > 0 and redis.call('ZCOUNT', key, text(absent[1][1]), '(' .. text(absent[#absent][2] + step)) > 0 then
    for _, span in ipairs(absent) do
        local found = redis.call('ZRANGEBYSCORE', key, text(span[1]), '(' .. text(span[2] + step), 'WITHSCORES')
        for i = 1, #found, 2 do
            local kind = kind_of(found[i], found[i + 1])
            if kind == 'candle' then present[#present + 1] = found[i + 1] end
            if not kind then junk[#junk + 1] = { found[i], tonumber(found[i + 1]) } end
        end
    end
end
if #present > 0 then return { 'present', present } end

-- Empty slots share one table: most are empty, and a table for each would cost more than the rest of the script.
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
    return kind and { open_time = tonumber(score), member = member, filler = kind == 'filler', open = open,
        high = high, low = low, close = close, volume = volume }
end

-- Read the members of the slots asked for.
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

-- For the feed: open times of replaced candles, and of members removed without a replacement.
local altered, gone = {}, {}

local function remove(open_time, old, new, why)
    removed[#removed + 1] = old
    table.insert(new == '' and gone or altered, open_time)
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
    if a.filler ~= b.filler then return b.filler end
    if a.volume ~= b.volume then return a.volume > b.volume end
    return sequence_of(a) > sequence_of(b)
end

-- Keep the best candle of a slot, and remove its other members.
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

-- Merge a candle into a slot that has one; return the outcome letter.
local function meet(i, slot)
    local alone = #slot.valid == 1 and #slot.foreign == 0
    settle(slot)
    local there = slot.valid[1]
    if same(there, candle_of(members[i], texts[i])) then return 'P' end
    if there.filler then
        remove(open_times[i], there.member, members[i], 'filler')
        add(i)
        return 'I'
    end
    if not alone or there.member ~= yielding[open_times[i]] then return 'D' end
    local rewritten = is_verified(evidence, step, open_times[i], there.member)
    remove(open_times[i], there.member, members[i], rewritten and 'rewritten' or 'repaired')
    add(i)
    return rewritten and 'W' or 'C'
end

for _, change in ipairs(plan.by_hand) do
    journal(log, text(change[1]), text(change[2]), change[3], change[4], change[5])
end

-- Newest first, so that the number of newer candles is known when the retention is checked.
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

for _, span in ipairs(plan.empty) do
    for _, found in ipairs(junk) do
        local open_time = math.floor(found[2] / step) * step
        if open_time >= span[1] and open_time <= span[2] then
            remove(open_time, found[1], '', 'foreign')
            foreign = foreign + 1
        end
    end
end
for i, open_time in ipairs(plan.ghosts) do remove(open_time, ARGV[ghosts_at + i - 1], '', 'ghost') end

flush('ZREM', removed)
flush('ZADD', added)
if lowest and plan.trim and cap > 0 then redis.call('ZREMRANGEBYRANK', key, 0, text(-(cap + 1))) end

-- A shorter life is prolonged, a longer one is kept; a key created here gets the configured life.
if plan.ttl > 0 and #added > 0 and (pttl == -2 or (pttl >= 0 and pttl < plan.ttl)) then
    redis.call('PEXPIRE', key, text(plan.ttl))
end

for i, field in ipairs(plan.fields) do
    local body = ARGV[fields_at + i - 1]
    if body == '' then
        redis.call('HDEL', evidence, field[1])
    else
        redis.call('HSET', evidence, field[1], body)
    end
end
if plan.late > 0 then
    -- A value that is not a number would stop the script between two writes.
    local count = redis.call('HGET', evidence, 'late')
    if count and not (#count <= 15 and count:match('^%d+$')) then redis.call('HDEL', evidence, 'late') end
    redis.call('HINCRBY', evidence, 'late', text(plan.late))
end

-- Note as verified the members that are alone in their slots and have the given digests.
local right, noted = {}, {}
if #plan.verified > 0 then
    local digests, first, last = ARGV[fields_at + #plan.fields], plan.verified[1], plan.verified[#plan.verified]
    local alone = {}
    local found = redis.call('ZRANGEBYSCORE', key, text(first), '(' .. text(last + step), 'WITHSCORES')
    for i = 1, #found, 2 do
        local open_time = math.floor(found[i + 1] / step) * step
        alone[open_time] = alone[open_time] == nil and found[i]
    end
    for i, open_time in ipairs(plan.verified) do
        local member, digest = alone[open_time], digests:sub((i - 1) * DIGEST + 1, i * DIGEST)
        if member and digest_of(member) == digest then
            right[#right + 1] = { open_time, digest }
            noted[#noted + 1] = text(open_time)
        end
    end
end
local newly = note_verified(evidence, step, right, plan.verified_at)

if #plan.fields > 0 or plan.late > 0 or #noted > 0 then
    -- If the server's history is unknown, the findings cannot be ascribed to one.
    local length = redis.call('HLEN', evidence)
    if noted_history and (not history or length == 1) then redis.call('HDEL', evidence, 'origin') end
    if history and not noted_history and length > 0 then redis.call('HSET', evidence, 'origin', history) end
    -- Most fields: two a day, four of the whole series, one block a member. With many days, the names of fields are
    -- read only if there are more fields than that.
    local days = plan.days_kept
    local fields = days > 100 and 2 * days + 4 + redis.call('ZCARD', key) or days
    if redis.call('HLEN', evidence) > fields then sweep(evidence, key, step, days) end
    redis.call('PEXPIRE', evidence, text(plan.days_life))
end

local inserted = {}
for i = 1, plan.candles do
    if outcome[i] == 'I' then inserted[#inserted + 1] = open_times[i] end
end
table.sort(altered)
table.sort(gone)
feed.tell(told, 'a', inserted)
feed.tell(told, 'c', altered)
feed.tell(told, 'g', gone)
feed.tell(told, 'v', newly)
for _, word in ipairs(plan.judged) do told.words[#told.words + 1] = word end
feed.close(told)

-- All data is written by now, so a user without the right to publish must not make the script fail.
local refused = ''
local function publish(channel, message)
    local sent = redis.pcall('PUBLISH', channel, message)
    if type(sent) == 'table' then refused = sent.err end
end

local JOINS = { I = true, C = true, W = true }
if plan.channel ~= '' then
    local start, count = nil, 0
    for i = 1, plan.candles + 1 do
        local joins = outcome[i] and JOINS[outcome[i]]
        if start and not (joins and open_times[i] == start + count * step) then
            publish(plan.channel, string.format('{"start":%.0f,"stop":%.0f,"count":%d}', start, start + count * step,
                count))
            start = nil
        end
        if joins then
            if not start then start, count = open_times[i], 0 end
            count = count + 1
        end
    end
end

if plan.close ~= '' then
    local since, stop, joins = plan.close_slots[1], plan.close_slots[2], false
    for i = 1, plan.candles do
        joins = joins or JOINS[outcome[i]] and open_times[i] >= since
    end
    local newest = joins
        and redis.call('ZRANGE', key, '(' .. text(stop), text(since), 'BYSCORE', 'REV', 'LIMIT', 0, 1) or {}
    if newest[1] then publish(plan.close, newest[1]) end
end

return { 'done', table.concat(outcome), extra, foreign, refused, noted }
