-- Read fields of a series' evidence, after doubting proofs of another history of writes. Two keys, one slot. Needs the
-- texts of feed.lua, origin.lua and doubt.lua before it.
--
-- KEYS     evidence key: hash
--          feed: stream of changes for other programs
-- ARGV     entries of the feed kept at least, its life (ms); then names of fields
-- Returns  their values

doubt_others(KEYS[1], function() return feed.open(KEYS[2], 1, ARGV[1], ARGV[2]) end)
return redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
