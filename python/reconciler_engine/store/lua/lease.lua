-- Leases of jobs. A lease belongs to its owner until it is released, or was not refreshed for a while and somebody else
-- took it. Each taking has an epoch that no later one is below, though everything here may be lost in between.
--
-- KEYS[1]  the job's lease: its owner
-- KEYS[2]  the job's fence, hash: epoch of the last taking, run = the record that is open
-- KEYS[3]  take only, optional: the tick's name, taken once by one owner
-- ARGV     take owner life_ms [tick_life_ms]  -> { epoch, open run or '' } | {} held, or the tick was taken before
--             an owner takes what it holds anew: the word of its taking or releasing was lost
--          refresh owner life_ms epoch        -> 1 still ours | 0 not any more
--          release owner [epoch]              -> 1 released | 0 it was not ours

local operation, owner = ARGV[1], ARGV[2]
local holder = redis.call('GET', KEYS[1])
local fence = redis.call('HGET', KEYS[2], 'epoch')

if operation == 'take' then
  if holder and holder ~= owner then
    return {}
  end
  if KEYS[3] and not redis.call('SET', KEYS[3], owner, 'NX', 'PX', ARGV[4]) then
    return {}
  end
  local time = redis.call('TIME')
  -- Microseconds: two takings within one millisecond, Redis emptied in between, have been seen.
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  -- A number of more digits is none of ours, and not counted exactly.
  local last = fence and #fence <= 16 and fence:match('^%d+$') and tonumber(fence) or 0
  local epoch = math.max((last < 9e15 and last or 0) + 1, now)
  redis.call('HSET', KEYS[2], 'epoch', string.format('%.0f', epoch))
  redis.call('SET', KEYS[1], owner, 'PX', ARGV[3])
  return { epoch, redis.call('HGET', KEYS[2], 'run') or '' }
end

if operation == 'release' then
  if holder ~= owner or ARGV[3] and fence ~= ARGV[3] then
    return 0
  end
  return redis.call('DEL', KEYS[1])
end

if fence ~= ARGV[4] or holder and holder ~= owner then
  return 0
end
-- Late, but nobody was there to take it.
redis.call('SET', KEYS[1], owner, 'PX', ARGV[3])
return 1
