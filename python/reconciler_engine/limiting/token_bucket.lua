-- The token bucket of token_bucket.py, kept in Redis and on Redis' clock. That file says what it does and why; the two
-- agree step by step (tests/property/test_limiting_parity.py).
--
-- KEYS[1]  hash: born seen offset until granted tat1 [tat2]; microseconds, but for granted
-- ARGV     reserve max_wait_us pace...           -> {1, wait_us, slot, born} | {0, wait_us}
--          confirm slot born lateness_us         -> {1, late_us} | {2, wait_us} | {0}
--          push    pause_us pace...              -> {until}
--          read                                  -> {seen, until, granted, tat1 [, tat2]} | {}
-- pace     interval_us tolerance_us; one or two of them

local LONGEST_WAIT_US = 3600000000
local HORIZON_US = 2 * LONGEST_WAIT_US
-- An idle bucket is full long before; a lost one starts empty.
local KEEP_MS = 86400000

local key = KEYS[1]
local operation = ARGV[1]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function paces(from)
  local list = {}
  for i = from, #ARGV, 2 do
    list[#list + 1] = { interval = tonumber(ARGV[i]), tolerance = tonumber(ARGV[i + 1]) }
  end
  return list
end

local function empty_tat(at, pace)
  return at + pace.tolerance + pace.interval
end

local function empty(at, limits)
  local bucket = { born = at, seen = at, offset = 0, until_ = 0, granted = 0, tats = {} }
  for i, pace in ipairs(limits) do
    bucket.tats[i] = empty_tat(at, pace)
  end
  return bucket
end

-- Lua takes 'nan' and 'inf' for numbers, and counts exactly below 2^53.
local function number(stored)
  local value = tonumber(stored or '')
  return value and value > -9e15 and value < 9e15 and value or nil
end

-- The remembered bucket at `now`; nil where there is none, or a field of it is no number.
local function load()
  local stored = redis.call('HMGET', key, 'born', 'seen', 'offset', 'until', 'granted', 'tat1', 'tat2')
  local numbers = {}
  for i = 1, 6 do
    numbers[i] = number(stored[i])
    if not numbers[i] then
      return nil
    end
  end
  local bucket = {
    born = numbers[1], seen = numbers[2], offset = numbers[3], until_ = numbers[4], granted = numbers[5],
    tats = { numbers[6], number(stored[7]) },
  }
  local behind = math.max(0, bucket.seen - (now + bucket.offset))
  bucket.offset = bucket.offset + behind
  bucket.seen = now + bucket.offset
  return bucket
end

local function awake(limits)
  local bucket = load()
  if not bucket then
    return empty(now, limits)
  end
  local sound = bucket.until_ <= bucket.seen + HORIZON_US
  for i, pace in ipairs(limits) do
    local tat = bucket.tats[i]
    sound = sound and tat and tat <= empty_tat(bucket.seen, pace) + HORIZON_US
  end
  if not sound then
    local fresh = empty(bucket.seen, limits)
    fresh.offset = bucket.offset
    fresh.granted = bucket.granted
    return fresh
  end
  for i = #limits + 1, #bucket.tats do
    bucket.tats[i] = nil
  end
  return bucket
end

-- Lua's own tostring keeps 14 digits; an instant has 16.
local function text(number)
  return string.format('%.0f', number)
end

local function store(bucket)
  local fields = {
    'born', text(bucket.born), 'seen', text(bucket.seen), 'offset', text(bucket.offset),
    'until', text(bucket.until_), 'granted', text(bucket.granted),
  }
  for i, tat in ipairs(bucket.tats) do
    fields[#fields + 1] = 'tat' .. i
    fields[#fields + 1] = text(tat)
  end
  redis.call('HSET', key, unpack(fields))
  if not bucket.tats[2] then
    redis.call('HDEL', key, 'tat2')
  end
  redis.call('PEXPIRE', key, KEEP_MS)
end

if operation == 'reserve' then
  local limits = paces(3)
  local bucket = awake(limits)
  local slot = math.max(bucket.seen, bucket.until_)
  for i, pace in ipairs(limits) do
    slot = math.max(slot, bucket.tats[i] - pace.tolerance)
  end
  local wait = slot - bucket.seen
  if wait > tonumber(ARGV[2]) then
    store(bucket)
    return { 0, wait }
  end
  for i, pace in ipairs(limits) do
    bucket.tats[i] = math.max(bucket.tats[i], slot) + pace.interval
  end
  if wait == 0 then
    bucket.granted = bucket.granted + 1
  end
  store(bucket)
  return { 1, wait, slot, bucket.born }
end

if operation == 'confirm' then
  local slot, born, lateness = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
  local bucket = load()
  if not bucket then
    return { 0 }
  end
  local late = bucket.seen - slot
  local answer = { 1, late }
  if bucket.born ~= born or slot < bucket.until_ or late > lateness then
    answer = { 0 }
  elseif late < 0 then
    answer = { 2, -late }
  else
    bucket.granted = bucket.granted + 1
  end
  store(bucket)
  return answer
end

if operation == 'push' then
  local limits = paces(3)
  local bucket = awake(limits)
  bucket.until_ = math.max(bucket.until_, bucket.seen + tonumber(ARGV[2]))
  bucket.tats[1] = math.max(bucket.tats[1], bucket.until_ + limits[1].tolerance)
  store(bucket)
  return { bucket.until_ }
end

if operation == 'read' then
  local bucket = load()
  if not bucket then
    return {}
  end
  return { bucket.seen, bucket.until_, bucket.granted, unpack(bucket.tats) }
end

return redis.error_reply('ERR unknown operation of the token bucket')
