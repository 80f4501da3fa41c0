-- Write a change into a series' journal. It goes before each script that changes something, and the script calls it
-- before it changes anything: a journal that cannot be written stops the change, and none goes unrecorded.
--
-- log      key, most entries, life (ms), who changes something
-- old      contents before, new = contents now; longer than a candle ever is, only its beginning is kept

local function journal(log, start, stop, old, new, why)
    local function clip(text)
        if #text <= 500 then return text end
        return string.sub(text, 1, 500) .. string.format('... (%d bytes)', #text)
    end
    redis.call('XADD', log.key, 'MAXLEN', log.most, '*', 'start', start, 'stop', stop,
        'old', clip(old), 'new', clip(new), 'why', why, 'by', log.by)
    redis.call('PEXPIRE', log.key, log.life)
end
