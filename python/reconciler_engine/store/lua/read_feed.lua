-- Read a series' feed after an entry. A script, since its reply has one shape for every client.
--
-- KEYS[1]  feed
-- ARGV     id of the last entry that is known; most entries
-- Returns  { entries after it, the oldest entry that is kept }

return {
    redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2]),
    redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1),
}
