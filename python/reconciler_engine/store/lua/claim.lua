-- Claims on slots of one series, so that two jobs do not ask the exchange for the same page. One key, atomic.
--
-- KEYS[1]  sorted set beside the candles: score = first slot (ms), member = start:stop:token:until:answered, where
--          `until` ends the claim's life and `answered` is when the exchange answered, 0 before (ms, server's clock)
--
-- take     ARGV  'take', token, start, stop, reach (ms, longest a claim may span), life (ms), since (ms), void token
--          Returns { 1, start, stop, start, stop, ... }  claimed; the pairs were asked for by others since `since`
--                  { 0, token, ms }                       held by `token` for so much longer at most
--          A claim of the same token, or of the void one, gives way.
-- settle   ARGV  'settle', token, start, stop, reach, memory (ms)
--          The exchange has answered: the claim holds nobody up any more, and is remembered for a while. 0 forgets it.

local key, action, token = KEYS[1], ARGV[1], ARGV[2]
local start, stop, reach = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local SWEEP = 4
local text = function(number) return string.format('%.0f', number) end

local function parse(member)
    local first, last, owner, life, answered = member:match('^(%d+):(%d+):(.*):(%d+):(%d+)$')
    if not first then return nil end
    return {
        start = tonumber(first), stop = tonumber(last), token = owner, life = tonumber(life),
        answered = tonumber(answered),
    }
end

local function put(life, answered)
    local member = table.concat({ text(start), text(stop), token, text(now + life), text(answered) }, ':')
    redis.call('ZADD', key, text(start), member)
    if redis.call('PTTL', key) < life then redis.call('PEXPIRE', key, text(life)) end
end

local gone, asked = {}, {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. text(start - reach), '(' .. text(stop))) do
    local claim = parse(member)
    if not claim or claim.life <= now then
        gone[#gone + 1] = member
    elseif claim.stop > start then
        local mine = claim.token == token
        if action == 'settle' then
            if mine then gone[#gone + 1] = member end
        elseif claim.answered > 0 then
            if claim.answered >= tonumber(ARGV[7]) then
                asked[#asked + 1] = text(claim.start)
                asked[#asked + 1] = text(claim.stop)
            end
        elseif mine or claim.token == ARGV[8] then
            gone[#gone + 1] = member
        else
            return { 0, claim.token, claim.life - now }
        end
    end
end
-- Of those that lie behind, a few at a time, so that they never pile up.
for _, member in ipairs(redis.call('ZRANGE', key, 0, SWEEP - 1)) do
    local claim = parse(member)
    if not claim or claim.life <= now then gone[#gone + 1] = member end
end
if #gone > 0 then redis.call('ZREM', key, unpack(gone)) end

if action == 'take' then
    put(tonumber(ARGV[6]), 0)
    return { 1, unpack(asked) }
end
local memory = tonumber(ARGV[6])
if memory > 0 then put(memory, now) end
return { 1 }
