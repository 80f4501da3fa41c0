-- Note that a series was written; called after the write. Each note's number is greater than all before.
--
-- KEYS[1]  sorted set: series, score = number of its last note, about the instant (ms)
-- ARGV     series; life of the key (ms)

local time = redis.call('TIME')
local top = tonumber(redis.call('ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES')[2] or 0)
local number = math.max(time[1] * 1000 + math.floor(time[2] / 1000), top + 1)
redis.call('ZADD', KEYS[1], string.format('%.0f', number), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
