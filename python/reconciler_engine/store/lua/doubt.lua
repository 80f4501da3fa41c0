-- Doubt proofs that another history of writes left behind: what took them back may be lost. It follows the texts of
-- feed.lua and origin.lua.

local BEFORE_FAILOVER = string.char(19)

-- Days since the epoch of at most five digits; other fields are none of ours.
local function is_day(name) return #name <= 5 and name:match('^%d+$') ~= nil end

-- A day's findings, each that is proved (states 1 to 3) but those by hand (7) with the reason that makes it looked at
-- once more; findings.py tells the bytes.
local function doubted(body)
    local HEAD, FINDING, BY_HAND = 3, 28, 7
    if #body < HEAD then return body end
    local parts, done = {}, 0
    for i = 0, struct.unpack('<H', body, 2) - 1 do
        local at = HEAD + 1 + i * FINDING
        local state, reason = body:byte(at, at + 1)
        if reason and state >= 1 and state <= 3 and reason ~= BY_HAND then
            parts[#parts + 1] = body:sub(done + 1, at) .. BEFORE_FAILOVER
            done = at + 1
        end
    end
    return table.concat(parts) .. body:sub(done + 1)
end

-- Doubt what was noted under another history, and take the hash over; tell the feed that `open_feed` opens. Returns the history now, nil where it is unknown,
-- and the one that the hash names. A hash that names none comes from engines that did not ask, and is left as it is.
local function doubt_others(evidence, open_feed)
    local now, noted = origin(), redis.call('HGET', evidence, 'origin')
    if now and noted and noted ~= now then
        local is_any = false
        for _, name in ipairs(redis.call('HKEYS', evidence)) do
            local body = is_day(name) and redis.call('HGET', evidence, name)
            local new = body and doubted(body)
            if new ~= body then
                redis.call('HSET', evidence, name, new)
                is_any = true
            end
        end
        redis.call('HSET', evidence, 'origin', now)
        if is_any then
            local told = open_feed()
            told.words[#told.words + 1] = feed.ALL_RETRACTED
            feed.close(told)
        end
    end
    return now, noted
end
