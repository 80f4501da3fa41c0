-- Enter a process in a scope's list of workers, or refresh its entry, unless the list has a process of another
-- protocol. One key, atomic.
--
-- KEYS[1]  hash: field = name of a worker or director, value = until:protocol:about, `until` the end of its life (ms,
--          server's clock)
-- ARGV     protocol, life (ms), name, about (text for display); without a name the list is only checked
-- Returns  {}                   no process of another protocol is listed; the name was entered
--          { protocol, about }  entry of a process of another protocol; the name was not entered

local key, protocol, life, name = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
-- In every protocol an entry lives for a minute at most.
local LONGEST = 60000
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- Another program filled the list; each process at work enters itself again within seconds.
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
