-- Read which series were written after a note, in the order of their notes. A script, since its reply has one shape for
-- every client.
--
-- KEYS[1]  index of touch.lua
-- ARGV[1]  number of the last note that is known; 0 for all
-- Returns  { number of the last note, series }

local top = redis.call('ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES')[2] or '0'
return { top, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf') }
