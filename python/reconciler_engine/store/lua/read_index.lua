-- Read which series were written after a given note, in the order of their notes. It is a script so that all clients
-- get the same form of reply.
--
-- KEYS[1]  index of touch.lua
-- ARGV[1]  number of the last note read; 0 for all series
-- Returns  { number of the last note, series }

local top = redis.call('ZRANGE', KEYS[1], 0, 0, 'REV', 'WITHSCORES')[2] or '0'
return { top, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf') }
