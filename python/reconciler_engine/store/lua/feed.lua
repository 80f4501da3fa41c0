-- Record in a series' feed which slots a write changed. This text is put before the script that writes. That script
-- opens the feed before it changes anything, so that a feed that is not a stream stops the write.
--
-- An entry has the fields n, its number in the feed, and d: words of a letter, the first slot (open time / step), ':'
-- and the number of consecutive slots. store/change_feed.py explains the letters.

-- Word for the withdrawal of all proofs of the series.
local feed = { ALL_RETRACTED = 'r0:999999999' }

function feed.open(key, step, most, life)
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
    return { key = key, step = step, most = most, life = life, words = {}, number = last and tonumber(last[2][2]) or 0 }
end

-- Slots must ascend; duplicates are recorded once.
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
