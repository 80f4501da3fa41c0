-- Who runs a job. A lease belongs to its owner until it is released or has not been refreshed for a while.
--
-- KEYS[1]  the job's lease: its owner
-- KEYS[2]  take only, optional: the tick's name, taken once by one owner
-- ARGV     take owner life_ms [tick_life_ms] -> 1 taken | 0 held, or the tick was taken before
--          refresh owner life_ms             -> 1 still ours | 0 not any more
--          release owner                     -> 1 released | 0 it was not ours

local operation, owner = ARGV[1], ARGV[2]
local holder = redis.call('GET', KEYS[1])

if operation == 'take' then
  if holder then
    return 0
  end
  if KEYS[2] and not redis.call('SET', KEYS[2], owner, 'NX', 'PX', ARGV[4]) then
    return 0
  end
  redis.call('SET', KEYS[1], owner, 'PX', ARGV[3])
  return 1
end

if holder ~= owner then
  return 0
end
if operation == 'refresh' then
  return redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('DEL', KEYS[1])
