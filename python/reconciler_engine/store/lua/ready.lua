-- May a reader trust the last closed bars of a series? One question, one instant, by the server's clock; read only.
-- It takes some 5 microseconds of the server's time a bar.
--
-- KEYS[1]  the candle key of a series in one of the feeder's layouts, a sorted set: score = open time (ms), member = JSON:
--          candles:{user id}:{exchange id}:{symbol}:{timeframe}, candles:{exchange id}:{symbol}:{timeframe}, or
--          usercandles:{user id}:{exchange id}:{symbol}:{timeframe}.
--          The evidence is read from the hash {KEYS[1]}:evidence, which lies in the same Cluster slot; name it as
--          KEYS[2] where something between insists on declared keys.
-- ARGV[1]  how many of the newest closed bars, 1 to 10000
-- ARGV[2]  how long after its end a bar may come (ms); 15000 without
-- ARGV[3]  'read' to be given what there is to judge instead of the answer
--
-- Returns  1 if each of these bars has a candle that nobody doubts, or is proved not to exist; 0 if not.
--          'read': { first open time not closed yet, { member, score, ... }, { findings of each day touched, ... },
--          digests of the accepted members }, no findings where the evidence cannot be read
--
-- A member that is no candle by the rule below leaves its slot open. A day of evidence that cannot be understood counts
-- as none.

local STEPS = { ['1m'] = 1, ['5m'] = 5, ['15m'] = 15, ['30m'] = 30, ['1h'] = 60, ['2h'] = 120, ['4h'] = 240,
    ['6h'] = 360, ['1d'] = 1440 }
local DAY = 86400000
local MOST = 10000
local GRACE = 15000

local key = KEYS[1] or ''
local symbol, timeframe
for _, layout in ipairs({ 'candles:%d+:%d+', 'candles:%d+', 'usercandles:%d+:%d+' }) do
    if not symbol then symbol, timeframe = key:match('^' .. layout .. ':([^:]+):([^:]+)$') end
end
if not STEPS[timeframe] then
    return redis.error_reply('ERR key ' .. key .. ' is no series\'; allowed: candles:{user id}:{exchange id}:{symbol}:'
        .. '{timeframe}, candles:{exchange id}:{symbol}:{timeframe} or usercandles:{user id}:{exchange id}:{symbol}:'
        .. '{timeframe}, the timeframe one of 1m 5m 15m 30m 1h 2h 4h 6h 1d')
end
local function whole(text, least, most)
    local number = tonumber(text)
    return number and number % 1 == 0 and number >= least and number <= most and number
end
local bars = whole(ARGV[1], 1, MOST)
if not bars then
    return redis.error_reply('ERR bars ' .. tostring(ARGV[1]) .. ' is not allowed; allowed: 1 to ' .. MOST)
end
local grace = whole(ARGV[2] or GRACE, 0, 2 ^ 53)
if not grace then
    return redis.error_reply('ERR grace_ms ' .. ARGV[2] .. ' is not allowed; allowed: a whole number of ms from 0')
end

local step = STEPS[timeframe] * 60000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stop = math.floor((now - grace) / step) * step
local start = stop - bars * step

-- Lua's own tostring keeps 14 digits.
local function text(number) return string.format('%.0f', number) end
local found = redis.call('ZRANGEBYSCORE', key, text(start), '(' .. text(stop), 'WITHSCORES')

local first_day, last_day = math.floor(start / DAY), math.floor((stop - 1) / DAY)
local days = {}
-- Lua hands at most about 8,000 values to one call.
for first = first_day, last_day, 1000 do
    local names = {}
    for day = first, math.min(first + 999, last_day) do names[#names + 1] = text(day) end
    local bodies = redis.pcall('HMGET', '{' .. key .. '}:evidence', unpack(names))
    if bodies.err then
        days = {}
        break
    end
    for i = 1, #names do days[#days + 1] = bodies[i] end
end
-- Members that somebody accepted: a JSON object, open time to the first 8 bytes of SHA-1 in hex.
local accepted = redis.pcall('HGET', '{' .. key .. '}:evidence', 'accepted')
if type(accepted) ~= 'string' then accepted = '' end
if ARGV[3] == 'read' then return { stop, found, days, accepted } end

local known, digests = pcall(cjson.decode, accepted)
if not known or type(digests) ~= 'table' then digests = {} end

local kind_of = rule_of(symbol, timeframe, step)
local present, settled = {}, {}
for i = 1, #found, 2 do
    local score = tonumber(found[i + 1])
    local slot = (score - start) / step
    local digest = digests[found[i + 1]]
    if digest and redis.sha1hex(found[i]):sub(1, 16) == digest then settled[slot] = true end
    if not present[slot] then
        -- A filler stands for no trades: the proof alone completes its slot.
        present[slot] = kind_of(found[i], found[i + 1]) == 'candle'
    end
end

-- A day's findings: version (u8), number of findings (u16); for each state (u8), reason (u8) and 26 bytes more; then
-- stretches of first slot of the day, number of slots, index of the finding (u16 each). All little-endian.
local VERSION, STATES, REASONS = 1, 5, 19
local EMPTY, HALTED, UNLISTED, SUSPECT = 1, 2, 3, 4
-- Proofs of engines that trusted an answer by itself: they prove nothing any more.
local OLD_PROOFS = { [1] = true, [2] = true, [3] = true }
local FINDING, STRETCH, HEAD = 28, 6, 3

-- The stretches of a day, each with its state; none where they cannot be understood.
local function stretches_in(body)
    if not body or #body < HEAD then return {} end
    local version, findings = struct.unpack('<BH', body)
    local rest = #body - HEAD - findings * FINDING
    if version ~= VERSION or rest < 0 or rest % STRETCH ~= 0 then return {} end
    local states, stretches, free = {}, {}, 0
    for i = 0, findings - 1 do
        local state, reason = struct.unpack('BB', body, 1 + HEAD + i * FINDING)
        if state >= STATES or reason >= REASONS then return {} end
        states[i] = state ~= SUSPECT and OLD_PROOFS[reason] and 0 or state
    end
    for at = 1 + HEAD + findings * FINDING, #body, STRETCH do
        local first, slots, index = struct.unpack('<HHH', body, at)
        if first < free or slots == 0 or not states[index] then return {} end
        free = first + slots
        stretches[#stretches + 1] = { first = first, slots = slots, state = states[index] }
    end
    return free * step <= DAY and stretches or {}
end

local proved, doubted = {}, {}
for i, body in ipairs(days) do
    local before = ((first_day + i - 1) * DAY - start) / step
    for _, stretch in ipairs(stretches_in(body)) do
        local state = stretch.state
        local slots = (state == EMPTY or state == HALTED or state == UNLISTED) and proved
            or state == SUSPECT and doubted
        if slots then
            for slot = before + stretch.first, before + stretch.first + stretch.slots - 1 do slots[slot] = true end
        end
    end
end

for slot = 0, bars - 1 do
    -- Whatever was proved, a candle is there now; and one that is gone is no longer in doubt but missing.
    local complete = proved[slot]
    if present[slot] then complete = settled[slot] or not doubted[slot] end
    if not complete then return 0 end
end
return 1
