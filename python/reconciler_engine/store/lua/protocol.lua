-- Enter the workers' list of a scope, or stay in it, unless somebody of another protocol is in it. One key, atomic.
--
-- KEYS[1]  hash: field = name of a worker or director, value = until:protocol:about, `until` the end of its life (ms,
--          server's clock)
-- ARGV     protocol, life (ms), name, about (text for people); without a name nobody enters
-- Returns  {}                   nobody of another protocol is there, and the name is in the list now
--          { protocol, about }  of one that is there; nothing was entered

local key, protocol, life, name = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
-- No protocol lets an entry live longer than a minute.
local LONGEST = 60000
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- A list this long is another program's; each process at work enters itself again within seconds.
if redis.call('HLEN', key) > 10000 then redis.call('DEL', key) end
local listed = redis.call('HGETALL', key)
for i = 1, #listed, 2 do
    local stop, theirs, about = listed[i + 1]:match('^(%d+):(%d+):(.*)$')
    stop = tonumber(stop)
    if not stop or stop <= now or stop > now + LONGEST then
        redis.call('HDEL', key, listed[i])
    elseif #theirs > 9 then
        redis.call('HDEL', key, listed[i])
    elseif theirs ~= protocol and listed[i] ~= name then
        return { theirs, about }
    end
end
if name then
    redis.call('HSET', key, name, string.format('%.0f:%s:%s', now + life, protocol, ARGV[4]))
    redis.call('PEXPIRE', key, life)
end
return {}
