-- Doubt proofs that were noted under another history of writes: a later write that withdrew them may be lost. Needs the
-- texts of feed.lua and origin.lua before it.

local BEFORE_FAILOVER = string.char(19)

-- Fields of findings are named by the day since the epoch, at most five digits; other fields hold no findings.
local function is_day(name) return #name <= 5 and name:match('^%d+$') ~= nil end

-- Return a day's findings, where each proved one (states 1 to 3) has the reason that makes it due again; the operator's
-- findings (reason 7) are kept. findings.py describes the bytes.
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

-- Doubt findings noted under another history, set the hash's history to the server's, and report it in the feed that
-- `open_feed` opens. Returns the server's history, nil if unknown, and the one that the hash named. A hash without one
-- was written by engines older than this check, and is left unchanged.
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
