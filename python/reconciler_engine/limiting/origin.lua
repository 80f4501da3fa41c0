-- The id of the server's history of writes. A script stores it beside data that a failover may lose. If the id has
-- changed, acknowledged writes may be lost. This text is put before scripts that need it; a call takes about 5 us.
--
-- A server gets a new replication id when it starts, when it is promoted, and when its first replica connects. But the
-- embedded server keeps its data over a restart, so it gets an id that stays: the configured size of a replication
-- backlog that is never allocated (store/embedded/lineage.py). Real backlogs are never that large.

local LEAST_LINEAGE = 2 ^ 50

-- Returns the id, or nil if the user may not run INFO.
local function origin()
    local told = redis.pcall('INFO', 'replication')
    if type(told) ~= 'string' then return nil end
    local _, before = told:find('repl_backlog_size:', 1, true)
    local size = before and tonumber(told:match('^%d+', before + 1))
    if size and size >= LEAST_LINEAGE then return string.format('embedded:%.0f', size) end
    _, before = told:find('master_replid:', 1, true)
    return before and told:match('^%x+', before + 1)
end
