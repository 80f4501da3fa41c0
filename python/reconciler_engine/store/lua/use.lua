-- Count a request to the exchange under its purpose, in the hour of the server's clock; drop hours that are too old.
--
-- KEYS[1]  hash: '<hour since the epoch>|<purpose>' -> requests
-- ARGV     purpose; most fields, beyond which a new purpose is counted as 'others'; hours kept

local hour = math.floor(redis.call('TIME')[1] / 3600)
local most, kept = tonumber(ARGV[2]), tonumber(ARGV[3])
local field = string.format('%d|%s', hour, ARGV[1])
if redis.call('HEXISTS', KEYS[1], field) == 0 then
    for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
        local of = tonumber(name:match('^(%d+)|'))
        if not of or of <= hour - kept or of > hour + 1 then redis.call('HDEL', KEYS[1], name) end
    end
    if redis.call('HLEN', KEYS[1]) >= most then field = string.format('%d|others|-|-|others', hour) end
end
-- A value that is not a number would stop the script between two writes.
local count = redis.call('HGET', KEYS[1], field)
if count and not (#count <= 15 and count:match('^%d+$')) then redis.call('HDEL', KEYS[1], field) end
redis.call('HINCRBY', KEYS[1], field, 1)
redis.call('PEXPIRE', KEYS[1], kept * 3600000)
