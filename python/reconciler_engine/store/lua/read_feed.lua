-- Read the entries of a series' feed after a given one. It is a script so that all clients get the same form of reply.
--
-- KEYS[1]  feed
-- ARGV     id of the last entry read; most entries
-- Returns  { entries after it, oldest entry kept }

return {
    redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2]),
    redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1),
}
