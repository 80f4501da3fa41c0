-- What a series holds of its last closed bars, in one instant and by the server's clock.
--
-- KEYS[1]  the series' sorted set: score = open time (ms), member = JSON
-- ARGV     step_ms bars grace_ms
-- Returns  {stop, {member, score, ...}}: the first open time that is not closed yet, and what lies in the
--          `bars` steps before it

local step, bars, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stop = math.floor((now - grace) / step) * step
local start = stop - bars * step

-- Lua's own tostring keeps 14 digits.
local first, last = string.format('%.0f', start), '(' .. string.format('%.0f', stop)
return { stop, redis.call('ZRANGEBYSCORE', KEYS[1], first, last, 'WITHSCORES') }
