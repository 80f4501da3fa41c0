-- Leases of jobs. An owner has a lease until it releases it, or until the lease expires and another owner takes it.
-- Each taking has an epoch above all earlier ones, even if Redis lost all data in between.
--
-- KEYS[1]  the job's lease: its owner
-- KEYS[2]  the job's fence, hash: epoch of the last taking, run = the record that is open
-- KEYS[3]  take only, optional: the tick, which only one owner can take
-- ARGV     take owner life_ms [tick_life_ms]  -> { epoch, open run or '' } | {} held by another, or tick taken
--             an owner may take a lease that it has: a reply to its last call may have been lost
--          refresh owner life_ms epoch        -> 1 refreshed | 0 lost to another owner
--          release owner [epoch]              -> 1 released | 0 not the owner's

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
  -- In microseconds: two takings within one millisecond were observed, with Redis emptied in between.
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  -- A longer number is not the engine's, and Lua cannot represent it exactly.
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
-- An expired lease that nobody took is refreshed, too.
redis.call('SET', KEYS[1], owner, 'PX', ARGV[3])
return 1
