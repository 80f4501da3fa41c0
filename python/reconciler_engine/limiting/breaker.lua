-- The circuit breaker; breaker.py describes it. This file is a part of the token bucket's script, which uses its
-- functions. KEYS[2] is the breaker's hash; `number` and `text` convert fields of hashes. Tests compare it with the
-- model tests/limiter_model/breaker.py.

local SILENCES, GONE, DENIALS = 3, 6, 4
-- A request takes at most 20 s, so a probe without a report after 30 s has died with its process. While one caller
-- probes, the others ask again after 250 ms.
local STOP_US, PROBE_LIFE_US, OCCUPIED_US = 3600000000, 30000000, 250000
local FIELDS = { 'turn', 'silent', 'throttled', 'blocked', 'denied', 'probe', 'stopped', 'why' }

-- Excludes 'nan' and 'inf', which Lua converts to numbers, and numbers that a double does not hold exactly.
local function number(stored)
  local value = tonumber(stored or '')
  return value and value > -9e15 and value < 9e15 and value or nil
end

-- Lua's `tostring` keeps 14 digits, but an instant has 16.
local function text(value)
  return string.format('%.0f', value)
end

local breaker = {}

function breaker.load(now)
  local stored = redis.call('HMGET', KEYS[2], unpack(FIELDS))
  local state = {}
  for i, name in ipairs(FIELDS) do
    state[name] = number(stored[i]) or 0
  end
  if state.probe > now + 3600000000 + PROBE_LIFE_US then
    state.probe = 0
  end
  if state.stopped > now + STOP_US then
    state.stopped = 0
  end
  return state
end

function breaker.store(state, keep_ms)
  local fields = {}
  for i, name in ipairs(FIELDS) do
    fields[2 * i - 1], fields[2 * i] = name, text(state[name])
  end
  redis.call('HSET', KEYS[2], unpack(fields))
  redis.call('PEXPIRE', KEYS[2], keep_ms)
end

function breaker.is_alone(state)
  return state.silent >= SILENCES or state.blocked > 0 or state.denied > 0
end

function breaker.advance(state, now)
  state.turn = math.max(state.turn + 1, now)
end

-- Records an outcome; returns the number of failures from which a pause is computed, and whether the state changed.
function breaker.report(state, now, turn, answer, why)
  if turn ~= state.turn then
    return 0, false
  end
  if answer == 'served' then
    local changed = false
    for _, name in ipairs(FIELDS) do
      if name ~= 'turn' and state[name] ~= 0 then
        state[name], changed = 0, true
      end
    end
    return 0, changed
  end
  local probed = state.probe ~= 0
  state.probe = 0
  if answer == 'unclear' then
    return 0, probed
  end
  state[answer], state.why = state[answer] + 1, why
  local count = state[answer]
  if answer == 'silent' then
    if not breaker.is_alone(state) then
      return 0, true
    end
    count = math.max(1, count - SILENCES + 1)
  end
  breaker.advance(state, now)
  if breaker.is_alone(state) then
    state.probe = now + OCCUPIED_US
  end
  if answer == 'denied' and count >= DENIALS then
    state.stopped = now + STOP_US
  end
  return count, true
end
