-- Read fields of a series' evidence. Proofs that another history of writes left behind are doubted first. One key. It
-- follows the texts of origin.lua and doubt.lua.
--
-- KEYS[1]  evidence key: hash
-- ARGV     names of fields
-- Returns  their values

doubt_others(KEYS[1])
return redis.call('HMGET', KEYS[1], unpack(ARGV))
