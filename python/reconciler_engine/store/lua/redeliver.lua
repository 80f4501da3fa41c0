-- Hand out again the unfinished tasks of a consumer, or idle tasks; delete that consumer, or those long silent.
--
-- KEYS     stream; for idle tasks also a hash: start and end of the time of watching so far (ms, server's clock)
-- ARGV     group, least idle time (ms), consumer ('' = any), most entries, number to add to a task's deliveries;
--          for idle tasks also the longest pause between two calls, and how long a consumer is silent until it is
--          deleted (ms)
-- Returns  number of tasks put back, at the stream's end

-- After an outage of this server every task is idle, although its worker may live. So idle tasks are handed out only
-- after calls of this script without a pause, for long enough that every live worker has touched its tasks.
if ARGV[3] == '' then
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    local watched = redis.call('HMGET', KEYS[2], 'since', 'last')
    -- Only digits: Lua reads 'nan' and 'inf' as numbers, too.
    local function instant(stored) return stored and #stored <= 15 and stored:match('^%d+$') and tonumber(stored) end
    local since, last, pause = instant(watched[1]), instant(watched[2]), tonumber(ARGV[6])
    if not since or not last or now - last > pause or last > now or since > last then since = now end
    redis.call('HSET', KEYS[2], 'since', string.format('%.0f', since), 'last', string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[2], 10 * pause)
    if now - since < pause then return 0 end
end

local function count(deliveries)
    local known = #deliveries <= 6 and deliveries:match('^%d+$')
    return string.format('%.0f', (known and tonumber(deliveries) or 1) + tonumber(ARGV[5]))
end

local pending
if ARGV[3] == '' then
    pending = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[2], '-', '+', ARGV[4])
else
    pending = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[2], '-', '+', ARGV[4], ARGV[3])
end
local moved = 0
for _, entry in ipairs(pending) do
    local found = redis.call('XRANGE', KEYS[1], entry[1], entry[1])
    if #found == 1 then
        local fields, again = found[1][2], {}
        for i = 1, #fields, 2 do
            again[#again + 1] = fields[i]
            again[#again + 1] = fields[i] == 'deliveries' and count(fields[i + 1]) or fields[i + 1]
        end
        redis.call('XADD', KEYS[1], '*', unpack(again))
        moved = moved + 1
    end
    redis.call('XACK', KEYS[1], ARGV[1], entry[1])
    redis.call('XDEL', KEYS[1], entry[1])
end
-- A consumer is deleted only without pending tasks, which would be lost with it. This is done in the same script since
-- a server that has not noticed the consumer's death may assign it another task between two commands.
if ARGV[3] ~= '' and #pending < tonumber(ARGV[4]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[3])
end
-- Consumers of dead nodes. A live consumer reads every few seconds; if one is deleted, its next read creates it again.
if ARGV[3] == '' then
    for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
        local consumer = {}
        for i = 1, #facts, 2 do consumer[facts[i]] = facts[i + 1] end
        if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[7]) then
            redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
        end
    end
end
return moved
