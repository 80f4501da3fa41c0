-- Hand out again what a consumer took and did not finish; forget a consumer that is named.
--
-- KEYS     stream
-- ARGV     group, least idle time (ms), consumer ('' = any), most entries
-- Returns  number of tasks put back; they stand at the stream's end with their delivery count raised

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
            again[#again + 1] = fields[i] == 'deliveries' and tostring((tonumber(fields[i + 1]) or 1) + 1) or fields[i + 1]
        end
        redis.call('XADD', KEYS[1], '*', unpack(again))
        moved = moved + 1
    end
    redis.call('XACK', KEYS[1], ARGV[1], entry[1])
    redis.call('XDEL', KEYS[1], entry[1])
end
-- Only with nothing pending: what it still held would never be handed out again. Here, since a server that has not
-- noticed yet that the consumer is gone may give it another task between two commands.
if ARGV[3] ~= '' and #pending < tonumber(ARGV[4]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[3])
end
return moved
