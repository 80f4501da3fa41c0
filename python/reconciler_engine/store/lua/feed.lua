-- Tell a series' feed of changes which slots a write changed. It goes before the script that writes, which opens the feed
-- before it changes anything: one that is not a stream stops the write.
--
-- An entry has the fields n, its number in the feed, and d: words of a letter, the first slot (open time / step), ':' and
-- how many slots in a row. store/change_feed.py tells the letters.

-- The proofs of all slots, whichever they were.
local feed = { ALL_RETRACTED = 'r0:999999999' }

function feed.open(key, step, most, life)
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    return { key = key, step = step, most = most, life = life, words = {}, number = last and tonumber(last[2][2]) or 0 }
end

-- Slots, ascending; one that comes twice is told once.
function feed.tell(told, letter, open_times)
    local step, first, last = told.step, open_times[1], open_times[1]
    local function close()
        local slot = math.floor(first / step)
        told.words[#told.words + 1] = string.format('%s%.0f:%.0f', letter, slot, math.floor(last / step) - slot + 1)
    end
    for i = 2, #open_times do
        local open_time = open_times[i]
        if open_time > last + step then
            close()
            first = open_time
        end
        last = open_time
    end
    if first then close() end
end

function feed.close(told)
    if #told.words == 0 then return end
    redis.call('XADD', told.key, 'MAXLEN', '~', told.most, '*', 'n', string.format('%.0f', told.number + 1),
        'd', table.concat(told.words, ' '))
    redis.call('PEXPIRE', told.key, told.life)
    told.number, told.words = told.number + 1, {}
end
