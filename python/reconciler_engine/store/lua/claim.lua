-- Claims on slots of one series, so that two jobs do not ask the exchange for the same page. One key, atomic.
--
-- KEYS[1]  sorted set beside the candles: score = first slot (ms), member = start:stop:token:until, where `until` ends
--          the claim's life (ms, server's clock)
--
-- take     ARGV  'take', token, start, stop, reach (ms, longest a claim may span), life (ms), void token
--          Returns { 1 }              claimed
--                  { 0, token, ms }   already claimed by `token`, for `ms` longer at most
--          A claim of the same token or of the void token is replaced.
-- release  ARGV  'release', token, start, stop, reach

local key, action, token = KEYS[1], ARGV[1], ARGV[2]
local start, stop, reach = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local SWEEP, LONGEST = 4, 60000
local text = function(number) return string.format('%.0f', number) end

local function parse(member)
    local first, last, owner, life = member:match('^(%d+):(%d+):(.*):(%d+)$')
    if not first then return nil end
    -- A claim that ends later than any claim can is not the engine's.
    local claim = { stop = tonumber(last), token = owner, life = tonumber(life) }
    return claim.life <= now + LONGEST and claim or nil
end

local gone = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. text(start - reach), '(' .. text(stop))) do
    local claim = parse(member)
    if not claim or claim.life <= now then
        gone[#gone + 1] = member
    elseif claim.stop > start then
        if claim.token == token or (action == 'take' and claim.token == ARGV[7]) then
            gone[#gone + 1] = member
        elseif action == 'take' then
            return { 0, claim.token, claim.life - now }
        end
    end
end
-- Expired claims are removed, a few at each call, so that they do not accumulate.
for _, member in ipairs(redis.call('ZRANGE', key, 0, SWEEP - 1)) do
    local claim = parse(member)
    if not claim or claim.life <= now then gone[#gone + 1] = member end
end
if #gone > 0 then redis.call('ZREM', key, unpack(gone)) end

if action == 'take' then
    local life = tonumber(ARGV[6])
    redis.call('ZADD', key, text(start), table.concat({ text(start), text(stop), token, text(now + life) }, ':'))
    if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, text(life)) end
end
return { 1 }
