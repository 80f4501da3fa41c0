-- Create a hash with these fields unless it exists. One key, atomic.
--
-- KEYS[1]  hash
-- ARGV     name and value of each field
--
-- Returns  1 if it was created, 0 if it existed: its own fields are newer

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
redis.call('PEXPIRE', KEYS[1], 86400000)
return 1
