-- May a reader trust the last closed bars of a series? One question, one instant, by the server's clock; read only.
-- It takes some 3 microseconds of the server's time a bar, and one a verified bar.
--
-- KEYS[1]  the candle key of a series in one of the feeder's layouts, a sorted set: score = open time (ms), member = JSON:
--          candles:{user id}:{exchange id}:{symbol}:{timeframe}, candles:{exchange id}:{symbol}:{timeframe}, or
--          usercandles:{user id}:{exchange id}:{symbol}:{timeframe}.
--          The evidence is read from the hash {KEYS[1]}:evidence, which lies in the same Cluster slot; name it as
--          KEYS[2] where something between insists on declared keys.
-- ARGV[1]  how many of the newest closed bars, 1 to 10000
-- ARGV[2]  how long after its end a bar may come (ms); 15000 without
-- ARGV[3]  how long after its end a bar may be unverified (ms), or 'any'; 1800000 without
-- ARGV[4]  how long after its end a bar may be absent (ms), unless the exchange has shown it; 0 without
-- ARGV[5]  'slots' for the newest slots of the grid, or 'members' for as many slots as the newest members take, which
--          are looked for in at most ten times as many slots, and for those after them, as the bar under way; slots
--          without
-- ARGV[6]  'detail' for the list below instead of 1 or 0
--
-- Returns  1 if each of these slots is ready, 0 if one is not, or if there are fewer members than asked for. A slot is
--          ready if it has a candle that is not suspect, and is verified unless ARGV[3] allows that it is not yet; if
--          it is proved not to have a candle; or if ARGV[4] allows that it has none yet. In each case, it has no member
--          that is not a candle.
--          'detail': { 1 or 0, open time of the first slot, first instant after the last one, end of the ready slots at
--          the beginning, reason why the oldest slot that is not ready is not, or '',
--          slots proved not to have a candle, slots with an unverified candle, members fewer than asked for,
--          slots missing, the oldest, slots suspect, the oldest, slots with a member that is not a candle, the oldest,
--          slots unverified for too long, the oldest, finding on the oldest slot that is not ready, or '',
--          first instant from which on each slot is ready or only unverified for too long, first instant from which on
--          each slot is ready, instant of this answer }; the oldest of no slots is -1. A slot that is not ready counts
--          under one reason only
--
-- A proof counts only under the history of writes under which it was noted. So a slot that was proved not to have a
-- candle is missing after a failover, until the engine has requested it again, and always if the user may not run INFO.
-- The rule for a candle is below. A malformed day of evidence or digest is ignored.

local STEPS = { ['1m'] = 1, ['5m'] = 5, ['15m'] = 15, ['30m'] = 30, ['1h'] = 60, ['2h'] = 120, ['4h'] = 240,
    ['6h'] = 360, ['1d'] = 1440 }
local DAY = 86400000
local MOST = 10000
local GRACE = 15000
local MAX_UNVERIFIED = 1800000
local REACH = 10
-- How far a writer's clock may be ahead of the server's (ms).
local AHEAD = 600000

local key = KEYS[1] or ''
local symbol, timeframe
for _, layout in ipairs({ 'candles:%d+:%d+', 'candles:%d+', 'usercandles:%d+:%d+' }) do
    if not symbol then symbol, timeframe = key:match('^' .. layout .. ':([^:]+):([^:]+)$') end
end
if not STEPS[timeframe] then
    return redis.error_reply('ERR key ' .. key .. ' is not of a series; allowed: candles:{user id}:{exchange id}:'
        .. '{symbol}:{timeframe}, candles:{exchange id}:{symbol}:{timeframe} or usercandles:{user id}:{exchange id}:{symbol}:'
        .. '{timeframe}, the timeframe one of 1m 5m 15m 30m 1h 2h 4h 6h 1d')
end
local function whole(text, least, most)
    local number = tonumber(text)
    return number and number % 1 == 0 and number >= least and number <= most and number
end
local bars = whole(ARGV[1], 1, MOST)
local grace, young = whole(ARGV[2] or GRACE, 0, 2 ^ 53), whole(ARGV[4] or 0, 0, 2 ^ 53)
local most_unverified = ARGV[3] or MAX_UNVERIFIED
most_unverified = most_unverified == 'any' and math.huge or whole(most_unverified, 0, 2 ^ 53)
local form, detail = ARGV[5] or 'slots', ARGV[6]
local WHOLE = 'a whole number of ms from 0'
for _, asked in ipairs({
    { 'bars', 1, bars, '1 to ' .. MOST },
    { 'grace_ms', 2, grace, WHOLE },
    { 'max_unverified_ms', 3, most_unverified, WHOLE .. ', or any' },
    { 'young_ms', 4, young, WHOLE },
    { 'form', 5, form == 'slots' or form == 'members', 'slots or members' },
    { 'detail', 6, not detail or detail == 'detail', 'detail, or nothing' },
}) do
    local name, place, is_right, allowed = unpack(asked)
    if not is_right then
        return redis.error_reply('ERR ' .. name .. ' ' .. tostring(ARGV[place]) .. ' is not allowed; allowed: ' .. allowed)
    end
end

local step = STEPS[timeframe] * 60000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stop = math.floor((now - grace) / step) * step
local start = stop - bars * step

-- tostring of Lua keeps only 14 digits.
local function text(number) return string.format('%.0f', number) end
local before = '(' .. text(stop)
local lacking = 0
if form == 'members' then
    local reach = text(stop - REACH * bars * step)
    local count = redis.call('ZCOUNT', key, reach, before)
    lacking = math.max(bars - count, 0)
    if lacking > 0 and not detail then return 0 end
    local oldest = redis.call('ZREVRANGEBYSCORE', key, before, reach, 'WITHSCORES', 'LIMIT', bars - lacking - 1, 1)[2]
    start = oldest and math.floor(oldest / step) * step or stop
end
local slots = (stop - start) / step
local found = redis.call('ZRANGEBYSCORE', key, text(start), before, 'WITHSCORES')

-- The evidence: findings of each day (`<day>`); where young slots may be absent, what is known to exist (`e<day>`);
-- digests of each 60 slots (`v<block>`); members that the operator accepted.
local BLOCK = 60
local names, notes = { 'accepted', 'origin' }, {}
local function name_all(prefix, from, size)
    for number = math.floor(from / size), math.floor((stop - 1) / size) do names[#names + 1] = prefix .. text(number) end
end
name_all('', start, DAY)
name_all('v', start, BLOCK * step)
if young > 0 then name_all('e', math.max(start, now - young - step), DAY) end
-- Lua passes at most about 8,000 values to one call.
for first = 1, #names, 1000 do
    local last = math.min(first + 999, #names)
    local bodies = redis.pcall('HMGET', '{' .. key .. '}:evidence', unpack(names, first, last))
    if bodies.err then
        notes, young = {}, 0
        break
    end
    for i, body in ipairs(bodies) do notes[names[first + i - 1]] = body or nil end
end

-- A day's findings: version (u8), number of findings (u16); for each state (u8), reason (u8) and 26 bytes more; then
-- stretches of first slot of the day, number of slots, index of the finding (u16 each). All little-endian.
local VERSION, STATES, REASONS = 1, 5, 20
local MISSING, SUSPECT = 0, 4
local UNUSABLE = 9
local BY_HAND = 7
-- Reasons of proofs by older engines, which took one answer as proof. They are no longer trusted.
local OLD_PROOFS = { [1] = true, [2] = true, [3] = true, [19] = true }
-- Proofs of another history of writes: their withdrawal may be lost. The history is read only if there is a proof.
local is_foreign
local function is_doubtful(reason)
    if is_foreign == nil then is_foreign = notes.origin ~= nil and notes.origin ~= origin() end
    return OLD_PROOFS[reason] or is_foreign and reason ~= BY_HAND
end
local FINDING, STRETCH, HEAD = 28, 6, 3

-- Return the stretches of a day, each with its finding; none if the day is malformed.
local function stretches_in(body)
    if not body or #body < HEAD then return {} end
    local version, count = struct.unpack('<BH', body)
    local rest = #body - HEAD - count * FINDING
    if version ~= VERSION or rest < 0 or rest % STRETCH ~= 0 then return {} end
    local findings, stretches, free = {}, {}, 0
    for i = 0, count - 1 do
        local at = 1 + HEAD + i * FINDING
        local state, reason = struct.unpack('BB', body, at)
        if state >= STATES or reason >= REASONS then return {} end
        if state ~= SUSPECT and state ~= MISSING and is_doubtful(reason) then state = MISSING end
        findings[i] = { state = state, reason = reason, text = body:sub(at, at + FINDING - 1) }
    end
    for at = 1 + HEAD + count * FINDING, #body, STRETCH do
        local first, length, index = struct.unpack('<HHH', body, at)
        if first < free or length == 0 or not findings[index] then return {} end
        free = first + length
        stretches[#stretches + 1] = { first = first, stop = free, finding = findings[index] }
    end
    return free * step <= DAY and stretches or {}
end

-- Call `note` with each slot asked for that is among the slots `first` to before `stop_slot` of a day.
local function each_slot(day, first, stop_slot, note)
    local shift = (day * DAY - start) / step
    for slot = math.max(shift + first, 0), math.min(shift + stop_slot, slots) - 1 do note(slot) end
end

local known, exists = {}, {}
for day = math.floor(start / DAY), math.floor((stop - 1) / DAY) do
    for _, stretch in ipairs(stretches_in(notes[text(day)])) do
        each_slot(day, stretch.first, stretch.stop, function(slot)
            known[slot] = stretch.finding
            -- The exchange has a row for the slot, but with unusable values.
            if stretch.finding.reason == UNUSABLE then exists[slot] = true end
        end)
    end
    -- Slots known to exist: version (u8), then first slot of the day and number of slots (u16 each). If that is
    -- malformed, all slots of the day may exist.
    local body = notes['e' .. text(day)]
    if body and (body:byte() ~= 1 or #body % 4 ~= 1) then
        each_slot(day, 0, DAY / step, function(slot) exists[slot] = true end)
    elseif body then
        for at = 2, #body, 4 do
            local first, length = struct.unpack('<HH', body, at)
            each_slot(day, first, first + length, function(slot) exists[slot] = true end)
        end
    end
end

-- A block of digests: version (u8); for each slot the first 12 hex digits of its verified member's SHA-1, or NULs; for
-- each slot when the exchange was asked (u32, s).
local DIGEST, BODY = 12, 961
local floor, sub, byte, sha1 = math.floor, string.sub, string.byte, redis.sha1hex
local block, digests
-- Return where in `digests` the digest of a slot (open time / step) begins; nil or false without one.
local function place_of(number)
    local offset = number % BLOCK
    if block ~= number - offset then
        block = number - offset
        digests = notes['v' .. text(block / BLOCK)]
        if digests and (#digests ~= BODY or byte(digests) ~= 1) then digests = nil end
    end
    local at = 2 + offset * DIGEST
    return digests and byte(digests, at) ~= 0 and at
end

-- A JSON object: open time to the first 16 hex digits of the member's SHA-1.
local is_read, accepted = pcall(cjson.decode, notes.accepted or '')
if not is_read or type(accepted) ~= 'table' then accepted = {} end

local kind_of = rule_of(symbol, timeframe, step)
local present, strange, verified, settled, last = {}, {}, {}, {}, nil
for i = 1, #found, 2 do
    local member, score = found[i], found[i + 1]
    local number = score / step
    local slot = floor(number) - start / step
    local place, taken = number % 1 == 0 and place_of(number), accepted[score]
    local hash = (place or taken) and sha1(member)
    local fits = place and sub(hash, 1, DIGEST) == sub(digests, place, place + DIGEST - 1)
    -- A verified member is a candle. A filler stands for a slot without trades, which only a proof makes ready.
    local kind = fits and 'candle' or kind_of(member, score)
    if kind == 'candle' then present[slot] = true elseif not kind then strange[slot] = true end
    if taken and sub(hash, 1, 16) == taken then settled[slot] = true end
    -- A slot with several members is not verified.
    verified[slot] = slot ~= last and (fits or settled[slot])
    last = slot
end

local unverified, proved = 0, 0
local function find_obstacle(slot)
    local age = now - start - (slot + 1) * step
    local finding = known[slot]
    local state = finding and finding.state or MISSING
    if present[slot] then
        if state == SUSPECT and not settled[slot] then return 'suspect' end
        if not verified[slot] then unverified = unverified + 1 end
    elseif state ~= MISSING and state ~= SUSPECT then
        -- Only in a slot without a candle, since a candle outweighs a proof.
        proved = proved + 1
    elseif age >= young or exists[slot] then
        return 'missing'
    end
    if strange[slot] then return 'not a candle' end
    return present[slot] and not verified[slot] and age > most_unverified and 'unverified' or nil
end

-- A reader of the newest members also gets members after the closed bars. If one of them is not a candle, or lies in
-- the future, they count as one more slot, which is not ready.
local last_slot = slots - 1
if form == 'members' then
    local newer = redis.call('ZRANGEBYSCORE', key, text(stop), '+inf', 'WITHSCORES', 'LIMIT', 0, MOST)
    for i = 1, #newer, 2 do
        local member, score = newer[i], newer[i + 1]
        if not kind_of(member, score) or score - now > step + AHEAD then last_slot = slots end
    end
end

local KINDS = { 'missing', 'suspect', 'not a candle', 'unverified' }
local counts, oldest, first = {}, {}, nil
local complete_from, ready_from = start, start
for slot = 0, last_slot do
    local is_plain = present[slot] and verified[slot] and not known[slot]
    local kind = slot == slots and 'not a candle' or not is_plain and find_obstacle(slot)
    if kind then
        if not detail then return 0 end
        first = first or { kind = kind, at = start + slot * step, finding = known[slot] }
        counts[kind] = (counts[kind] or 0) + 1
        oldest[kind] = oldest[kind] or start + slot * step
        ready_from = start + (slot + 1) * step
        if kind ~= 'unverified' then complete_from = ready_from end
    end
end
if not detail then return 1 end
if lacking > 0 then first = { kind = 'fewer members', at = start } end
local told = { first and 0 or 1, start, stop, first and first.at or stop, first and first.kind or '', proved, unverified,
    lacking }
for _, kind in ipairs(KINDS) do
    told[#told + 1] = counts[kind] or 0
    told[#told + 1] = oldest[kind] or -1
end
told[#told + 1] = first and first.finding and first.finding.text or ''
told[#told + 1], told[#told + 2], told[#told + 3] = complete_from, ready_from, now
return told
