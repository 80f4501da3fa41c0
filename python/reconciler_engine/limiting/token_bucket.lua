-- The token bucket; budget.py describes it, permit_header.lua its keys, arguments and replies. A test compares it step by
-- step with tests/limiter_model (tests/property/test_limiting_parity.py). The script consists of permit_header.lua,
-- origin.lua, breaker.lua and this file. If the server's history of writes has changed, the record of permits may be
-- lost: the bucket starts empty, and permits granted before are void. The first number of a reply to `reserve` and
-- `confirm` is a `Reply` of permit_steps.py.

local LONGEST_WAIT_US = 3600000000
local HORIZON_US = 2 * LONGEST_WAIT_US
local WHOLE_PPM, LEAST_PPM, RECOVERY_US = 1000000, 62500, 100
-- Life of the keys after the last use. An idle bucket is full long before; a lost one starts empty.
local KEEP_MS = 86400000

local key = KEYS[1]
local operation = ARGV[1]

local ANSWERS = { served = true, unclear = true, silent = true, throttled = true, blocked = true, denied = true }
local function refused(name, value, allowed)
  return redis.error_reply('ERR ' .. name .. ' ' .. tostring(value) .. ' is not allowed; allowed: ' .. allowed)
end
if (operation == 'reserve' or operation == 'spare') and not tonumber(ARGV[2]) then
  return refused('max_wait_us', ARGV[2], 'a number of microseconds, 0 to be told at once')
elseif operation == 'report' then
  if not tonumber(ARGV[2]) then return refused('turn', ARGV[2], 'the one that came with the permit') end
  if not ANSWERS[ARGV[3]] then
    return refused('answer', ARGV[3], 'served, unclear, silent, throttled, blocked or denied')
  end
  if not tonumber(ARGV[4]) then return refused('status', ARGV[4], 'the number of the HTTP status, 0 without an answer') end
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local history = origin()

-- The limits in this call, as text; '' if the caller is another program, which gives none.
local given = ''

local function read_limits(from)
  given = table.concat(ARGV, ' ', from)
  local list, numbers = {}, {}
  for word in (given ~= '' and given or redis.call('HGET', key, 'limits') or ''):gmatch('%d+') do
    numbers[#numbers + 1] = tonumber(word)
  end
  for i = 1, #numbers - 1, 2 do
    list[#list + 1] = { interval = numbers[i], tolerance = numbers[i + 1] }
  end
  return list
end

-- How long after its slot a permit may be used, as in budget.py; less if that cannot be told from the limits.
local function lateness_of(limit)
  local longest = 250000
  return (limit.tolerance > 0 or limit.interval >= longest) and longest or limit.interval
end

local function empty_tat(at, limit)
  return at + limit.tolerance + limit.interval
end

local function empty(at, limits)
  local bucket = { born = at, seen = at, offset = 0, until_ = 0, granted = 0, tats = {}, share = WHOLE_PPM, cut = 0, cause = 0 }
  for i, limit in ipairs(limits) do
    bucket.tats[i] = empty_tat(at, limit)
  end
  return bucket
end

-- The stored bucket at `now`; nil if there is none, or a field is not a number.
local function load()
  local stored =
    redis.call('HMGET', key, 'born', 'seen', 'offset', 'until', 'granted', 'tat1', 'tat2', 'share', 'cut', 'cause', 'origin')
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
    share = number(stored[8]) or WHOLE_PPM, cut = number(stored[9]) or 0, cause = number(stored[10]) or 0,
    -- If the history is unknown, because the user may not run INFO, the bucket is used as it is.
    is_foreign = history ~= nil and stored[11] ~= history,
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
  local sound = not bucket.is_foreign and bucket.until_ <= bucket.seen + HORIZON_US
  for i, limit in ipairs(limits) do
    local tat = bucket.tats[i]
    sound = sound and tat and tat <= empty_tat(bucket.seen, limit) + HORIZON_US
  end
  if not sound then
    local fresh = empty(bucket.seen, limits)
    -- The new bucket must differ in `born`, so that older permits are void, also if the clock is behind.
    fresh.born = math.max(fresh.born, bucket.born + 1)
    fresh.until_ = bucket.is_foreign and math.min(bucket.until_, bucket.seen + LONGEST_WAIT_US) or 0
    fresh.offset = bucket.offset
    fresh.granted = bucket.granted
    fresh.share, fresh.cut, fresh.cause = bucket.share, bucket.cut, bucket.cause
    return fresh
  end
  for i = #limits + 1, #bucket.tats do
    bucket.tats[i] = nil
  end
  return bucket
end

local function share_ppm(bucket)
  local since = bucket.seen - bucket.cut
  if since < 0 then
    return WHOLE_PPM
  end
  local back = math.floor(math.min(since, RECOVERY_US * WHOLE_PPM) / RECOVERY_US)
  return math.min(WHOLE_PPM, math.max(LEAST_PPM, bucket.share) + back)
end

local function stretched(interval, share)
  local whole = interval * WHOLE_PPM
  -- Integer arithmetic: a plain division could round up to the next whole number.
  return math.min((whole - math.fmod(whole, share)) / share, interval + LONGEST_WAIT_US)
end

local function store(bucket)
  local fields = {
    'born', text(bucket.born), 'seen', text(bucket.seen), 'offset', text(bucket.offset),
    'until', text(bucket.until_), 'granted', text(bucket.granted),
    'share', text(bucket.share), 'cut', text(bucket.cut), 'cause', text(bucket.cause),
  }
  for i, tat in ipairs(bucket.tats) do
    fields[#fields + 1] = 'tat' .. i
    fields[#fields + 1] = text(tat)
  end
  if history then
    fields[#fields + 1] = 'origin'
    fields[#fields + 1] = history
  end
  if given ~= '' then
    for _, word in ipairs({ 'limits', given, 'breaker', KEYS[2] }) do fields[#fields + 1] = word end
  end
  redis.call('HSET', key, unpack(fields))
  if not bucket.tats[2] then
    redis.call('HDEL', key, 'tat2')
  end
  redis.call('PEXPIRE', key, KEEP_MS)
end

if operation == 'reserve' or operation == 'spare' then
  local limits = read_limits(3)
  if #limits == 0 then
    return redis.error_reply('ERR no engine has made the budget ' .. key .. ' yet')
  end
  local bucket = awake(limits)
  local gate = breaker.load(bucket.seen)
  if gate.stopped > bucket.seen then
    return { 4, gate.stopped - bucket.seen, gate.why }
  end
  local alone = breaker.is_alone(gate)
  local pause, busy = bucket.until_ - bucket.seen, math.min(gate.probe - bucket.seen, OCCUPIED_US)
  if gate.silent >= GONE and math.max(pause, busy) > 0 then
    return { 5, math.max(pause, busy), gate.why, gate.silent }
  end
  if alone and busy > 0 then
    return { 3, busy }
  end
  local slot = math.max(bucket.seen, bucket.until_)
  for i, limit in ipairs(limits) do
    slot = math.max(slot, bucket.tats[i] - limit.tolerance)
  end
  local wait = slot - bucket.seen
  if wait > tonumber(ARGV[2]) then
    store(bucket)
    return { 0, wait }
  end
  if operation == 'spare' then
    local others = wait
    for i, limit in ipairs(limits) do
      others = math.max(others, bucket.tats[i] + limit.interval - limit.tolerance - bucket.seen)
    end
    if others > 0 then
      store(bucket)
      return { 3, others }
    end
  end
  local share = share_ppm(bucket)
  for i, limit in ipairs(limits) do
    -- Only the first limit is slowed down: the hour's limit is not the one that the exchange refused.
    local interval = i == 1 and stretched(limit.interval, share) or limit.interval
    bucket.tats[i] = math.max(bucket.tats[i], slot) + interval
  end
  if wait == 0 then
    bucket.granted = bucket.granted + 1
  end
  store(bucket)
  if alone then
    breaker.advance(gate, bucket.seen)
    gate.probe = slot + PROBE_LIFE_US
    breaker.store(gate, KEEP_MS)
  end
  return { 1, wait, slot, bucket.born, gate.turn }
end

if operation == 'confirm' then
  local slot, born, turn, lateness = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
  local bucket = load()
  if not bucket or bucket.is_foreign then
    return { 0 }
  end
  local gate = breaker.load(bucket.seen)
  local alone = breaker.is_alone(gate)
  local late = bucket.seen - slot
  local answer = { 1, late }
  if gate.stopped > bucket.seen or alone and turn ~= gate.turn then
    answer = { 0 }
  elseif bucket.born ~= born or slot < bucket.until_ or late > lateness then
    answer = { 0 }
    if alone then
      gate.probe = 0
      breaker.store(gate, KEEP_MS)
    end
  elseif late < 0 then
    answer = { 2, -late }
  else
    bucket.granted = bucket.granted + 1
  end
  store(bucket)
  return answer
end

if operation == 'push' then
  local limits = read_limits(3)
  if #limits == 0 then
    return { 0 }
  end
  local bucket = awake(limits)
  bucket.until_ = math.max(bucket.until_, bucket.seen + tonumber(ARGV[2]))
  bucket.tats[1] = math.max(bucket.tats[1], bucket.until_ + limits[1].tolerance)
  store(bucket)
  return { bucket.until_ }
end

if operation == 'report' then
  local turn, answer, why = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
  local limits = read_limits(5)
  if #limits == 0 then
    return { 0, 0 }
  end
  local bucket = awake(limits)
  local gate = breaker.load(bucket.seen)
  local count, changed = breaker.report(gate, bucket.seen, turn, answer, why)
  if changed then
    breaker.store(gate, KEEP_MS)
  end
  if count > 0 and (answer == 'throttled' or answer == 'blocked') then
    bucket.share = math.max(LEAST_PPM, math.floor(share_ppm(bucket) / 2))
    bucket.cut, bucket.cause = bucket.seen, why
    store(bucket)
  end
  return { count, math.max(0, gate.stopped - bucket.seen) }
end

if operation == 'forgive' then
  local bucket = awake(read_limits(2))
  local gate = breaker.load(bucket.seen)
  if gate.denied > 0 then
    breaker.advance(gate, bucket.seen)
    gate.denied, gate.probe, gate.stopped = 0, 0, 0
    breaker.store(gate, KEEP_MS)
  end
  return {}
end

if operation == 'read' then
  local bucket = load()
  if not bucket then
    return {}
  end
  local reply = { bucket.seen, bucket.until_, bucket.granted, share_ppm(bucket), bucket.cause }
  local gate = breaker.load(bucket.seen)
  for _, name in ipairs(FIELDS) do
    reply[#reply + 1] = gate[name]
  end
  for _, tat in ipairs(bucket.tats) do
    reply[#reply + 1] = tat
  end
  return reply
end

if operation == 'terms' then
  local limits = read_limits(2)
  if #limits == 0 then
    return {}
  end
  local reply = { lateness_of(limits[1]), redis.call('HGET', key, 'breaker') }
  for _, limit in ipairs(limits) do
    reply[#reply + 1], reply[#reply + 2] = limit.interval, limit.tolerance
  end
  return reply
end

return refused('operation', operation, 'reserve, spare, confirm, report, push, forgive, read or terms')
