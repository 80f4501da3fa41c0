-- Write a change into a series' journal. This text is put before each script that changes a series. The script calls it
-- before it changes anything, so that a journal that cannot be written stops the change.
--
-- log      key, most entries, life (ms), author of the change
-- old      contents before, new = contents now; of contents longer than any candle only the beginning is kept

local function journal(log, start, stop, old, new, why)
    local function clip(text)
        if #text <= 500 then return text end
        return string.sub(text, 1, 500) .. string.format('... (%d bytes)', #text)
    end
    redis.call('XADD', log.key, 'MAXLEN', log.most, '*', 'start', start, 'stop', stop,
        'old', clip(old), 'new', clip(new), 'why', why, 'by', log.by)
    redis.call('PEXPIRE', log.key, log.life)
end
