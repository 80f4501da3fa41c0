-- May a reader trust the last closed bars of a series? One question, one instant, by the server's clock; read only.
-- It takes some 5 microseconds of the server's time a bar.
--
-- KEYS[1]  candles:{user id}:{exchange id}:{symbol}:{timeframe}, a sorted set: score = open time (ms), member = JSON.
--          The evidence is read from the hash {KEYS[1]}:evidence, which lies in the same Cluster slot; name it as
--          KEYS[2] where something between insists on declared keys.
-- ARGV[1]  how many of the newest closed bars, 1 to 10000
-- ARGV[2]  how long after its end a bar may come (ms); 15000 without
-- ARGV[3]  'read' to be given what there is to judge instead of the answer
--
-- Returns  1 if each of these bars has a candle that nobody doubts, or is proved not to exist; 0 if not.
--          'read': { first open time not closed yet, { member, score, ... }, { findings of each day touched, ... } },
--          no findings where the evidence cannot be read
--
-- What is no candle leaves its slot open: strict JSON (UTF-8, 64 levels), the series' own names, a timestamp that is
-- the score, five finite prices. A day of evidence that cannot be understood counts as none.

local STEPS = { ['1m'] = 1, ['5m'] = 5, ['15m'] = 15, ['30m'] = 30, ['1h'] = 60, ['2h'] = 120, ['4h'] = 240,
    ['6h'] = 360, ['1d'] = 1440 }
local DAY = 86400000
local MOST = 10000
local GRACE = 15000

local key = KEYS[1] or ''
local symbol, timeframe = key:match('^candles:%d+:%d+:([^:]+):([^:]+)$')
if not STEPS[timeframe] then
    return redis.error_reply('ERR key ' .. key .. ' is no series\'; allowed: candles:{user id}:{exchange id}:{symbol}:'
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
if ARGV[3] == 'read' then return { stop, found, days } end

-- Strict JSON: each function takes the position of a value's first sign and returns the one after its last, or nil.

local function after_string(json, at)
    while true do
        at = json:find('["\\%z\1-\31]', at + 1)
        if not at then return nil end
        local sign = json:sub(at, at)
        if sign == '"' then return at + 1 end
        if sign ~= '\\' then return nil end
        if json:find('^["\\/bfnrt]', at + 1) then
            at = at + 1
        elseif json:find('^u%x%x%x%x', at + 1) then
            at = at + 5
        else
            return nil
        end
    end
end

local function after_number(json, at)
    local digits = json:match('^%-?()%d', at)
    if not digits or json:find('^0%d', digits) then return nil end
    at = json:match('^%d+()', digits)
    at = json:match('^%.%d+()', at) or at
    return json:match('^[eE][+-]?%d+()', at) or at
end

local function after_space(json, at) return json:match('^[ \t\r\n]*()', at) end

-- Text between quotes; a sign that an escape writes and ASCII has not becomes one that no name has.
local LETTERS = { b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }
local function plain(quoted)
    return (quoted:sub(2, -2):gsub('\\(.)(%x?%x?%x?%x?)', function(sign, hex)
        if sign ~= 'u' then return (LETTERS[sign] or sign) .. hex end
        local code = tonumber(hex, 16)
        return code < 128 and string.char(code) or '\255'
    end))
end

local after_container

local function after_value(json, at, depth)
    local sign = json:sub(at, at)
    if sign == '"' then return after_string(json, at) end
    if sign == '{' or sign == '[' then return after_container(json, at, depth + 1) end
    return json:match('^true()', at) or json:match('^false()', at) or json:match('^null()', at)
        or after_number(json, at)
end

-- `fields` is given what an object holds: its values as they are written, the last of a name.
function after_container(json, at, depth, fields)
    if depth > 64 then return nil end
    local named = json:sub(at, at) == '{'
    local close = named and '^}()' or '^%]()'
    at = after_space(json, at + 1)
    local done = json:match(close, at)
    while not done do
        local name
        if named then
            local colon = json:sub(at, at) == '"' and after_string(json, at)
            if not colon then return nil end
            name = json:sub(at, colon - 1)
            at = json:match('^[ \t\r\n]*:[ \t\r\n]*()', colon)
            if not at then return nil end
        end
        local after = after_value(json, at, depth)
        if not after then return nil end
        if fields then fields[plain(name)] = json:sub(at, after - 1) end
        at = after_space(json, after)
        done = json:match(close, at)
        if not done then
            at = json:match('^,[ \t\r\n]*()', at)
            if not at then return nil end
        end
    end
    return done
end

local SEQUENCES = {
    '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
    '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
}
local function is_utf8(bytes)
    if not bytes:find('[\128-\255]') then return true end
    for _, sequence in ipairs(SEQUENCES) do bytes = bytes:gsub(sequence, ' ') end
    return not bytes:find('[\128-\255]')
end

-- A value as a finite number, or nil where it is none.
local function number_in(value)
    local number = value and value:find('^[-%d]') and tonumber(value)
    return number and number > -math.huge and number < math.huge and number or nil
end

local PRICES = { 'open', 'high', 'low', 'close', 'volume' }
local function is_candle(json, score)
    local fields = {}
    local at = after_space(json, 1)
    at = json:sub(at, at) == '{' and is_utf8(json) and after_container(json, at, 1, fields)
    if not at or after_space(json, at) <= #json then return false end
    for _, name in ipairs(PRICES) do
        if not number_in(fields[name]) then return false end
    end
    return number_in(fields.timestamp) == score
        and (fields.symbol or ''):sub(1, 1) == '"' and plain(fields.symbol) == symbol
        and (fields.timeframe or ''):sub(1, 1) == '"' and plain(fields.timeframe) == timeframe
end

-- The forms that JSON.stringify and json.dumps give the feeder's candles: nothing but a candle has them, and they are
-- twenty times as quick to see.
local function form(between)
    local price = between .. '%d+%.?%d*,' .. between
    return '^{"timestamp":' .. between .. '(%d+),' .. between .. '"open":' .. price .. '"high":' .. price .. '"low":'
        .. price .. '"close":' .. price .. '"volume":' .. price .. '"symbol":' .. between .. '"'
        .. symbol:gsub('%p', '%%%0') .. '",' .. between .. '"timeframe":' .. between .. '"' .. timeframe .. '"(.*)}$'
end
local COMPACT, SPACED = form(''), form(' ?')
local find = string.find
local function is_usual(json, score)
    local timestamp, rest = json:match(COMPACT)
    if not timestamp then timestamp, rest = json:match(SPACED) end
    -- Fewer than 300 digits are finite. Plain text is found far quicker than a pattern.
    return timestamp == score and #json < 300 and (rest == '' or find(rest, '^, ?"sequenceNum": ?%d+$'))
        and not find(json, '.,', 1, true)
        and not ((find(json, ':0', 1, true) or find(json, ': 0', 1, true)) and find(json, ': ?0%d'))
end

local present = {}
for i = 1, #found, 2 do
    local score = tonumber(found[i + 1])
    local slot = (score - start) / step
    if not present[slot] then
        present[slot] = is_usual(found[i], found[i + 1]) or is_candle(found[i], score)
    end
end

-- A day's findings: version (u8), number of findings (u16); for each state (u8), reason (u8) and 26 bytes more; then
-- stretches of first slot of the day, number of slots, index of the finding (u16 each). All little-endian.
local VERSION, STATES, REASONS = 1, 5, 10
local EMPTY, HALTED, UNLISTED, SUSPECT = 1, 2, 3, 4
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
        states[i] = state
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
    if present[slot] then complete = not doubted[slot] end
    if not complete then return 0 end
end
return 1
