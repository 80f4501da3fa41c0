-- Merge candles of one series and write what their answer proved, both or neither. Three keys, one slot, atomic.
-- It follows the texts of journal.lua, candle.lua and merge.lua, that one wrapped into `local function merge(KEYS,
-- ARGV)`.
--
-- KEYS[1]  candle key, as merge.lua takes it
-- KEYS[2]  evidence key: hash, field = day since the epoch, value = that day's findings; `late` = late candles so far
-- KEYS[3]  journal
-- ARGV     ttl of the evidence (ms), days it may hold, late candles to count, number of days written,
--          for each: day, SHA-1 of its findings as they were read ('' = none), its findings now ('' = none),
--          number of changes by hand, for each: start, stop, what was known, what is known now, why,
--          number of members that are to be as they were read, for each: open time, member,
--          number of spans that are to have no candle, for each: first and last open time,
--          then merge.lua's arguments
--
-- Returns  { 'done', what merge.lua returned }
--          { 'changed', the findings of those days now }    somebody else wrote them since; nothing was done
--          { 'moved', open times }                          other members there by now; nothing was done
--          { 'present', open times }                        candles in those spans; nothing was done

local candle_key, key = KEYS[1], KEYS[2]
local ttl, most, late = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local at = 4
local function take()
    at = at + 1
    return ARGV[at - 1]
end

local days, read, now = {}, {}, {}
for i = 1, tonumber(take()) do
    days[i], read[i], now[i] = take(), take(), take()
end
if #days > 0 then
    local found = redis.call('HMGET', key, unpack(days))
    for i = 1, #days do
        if (found[i] and redis.sha1hex(found[i]) or '') ~= read[i] then return { 'changed', found } end
    end
end

local changes = {}
for i = 1, tonumber(take()) do
    changes[i] = { take(), take(), take(), take(), take() }
end

-- A feeder may have written after we looked and before the answer came: another candle into a slot that was judged,
local moved = {}
for _ = 1, tonumber(take()) do
    local open_time, member = take(), take()
    local found = redis.call('ZRANGEBYSCORE', candle_key, open_time, open_time)
    if #found ~= 1 or found[1] ~= member then moved[#moved + 1] = open_time end
end
if #moved > 0 then return { 'moved', moved } end

-- or the first one.
local spans = tonumber(take())
local first_merged = at + 2 * spans
local symbol, timeframe = ARGV[first_merged], ARGV[first_merged + 1]
local present = {}
local outer = spans > 0 and redis.call('ZCOUNT', candle_key, ARGV[at], ARGV[first_merged - 1]) or 0
for i = at, outer > 0 and first_merged - 1 or 0, 2 do
    local found = redis.call('ZRANGEBYSCORE', candle_key, ARGV[i], ARGV[i + 1], 'WITHSCORES')
    for k = 1, #found, 2 do
        -- What is no candle of this slot leaves it absent, as for every reader.
        if candle_of(found[k], tonumber(found[k + 1]), symbol, timeframe) then present[#present + 1] = found[k + 1] end
    end
end
if #present > 0 then return { 'present', present } end

local merged = {}
for i = first_merged, #ARGV do merged[#merged + 1] = ARGV[i] end
local log = { key = KEYS[3], by = merged[8], most = merged[9], life = merged[10] }
for _, change in ipairs(changes) do journal(log, unpack(change)) end
local outcome = merge({ candle_key, KEYS[3] }, merged)

for i = 1, #days do
    if now[i] == '' then
        redis.call('HDEL', key, days[i])
    else
        redis.call('HSET', key, days[i], now[i])
    end
end
if late > 0 then redis.call('HINCRBY', key, 'late', late) end
if #days > 0 or late > 0 then
    if redis.call('HLEN', key) > most + 1 then
        local held = {}
        for _, day in ipairs(redis.call('HKEYS', key)) do
            if tonumber(day) then held[#held + 1] = day end
        end
        table.sort(held, function(a, b) return tonumber(a) < tonumber(b) end)
        for i = 1, #held - most do redis.call('HDEL', key, held[i]) end
    end
    redis.call('PEXPIRE', key, ttl)
end
return { 'done', outcome }
