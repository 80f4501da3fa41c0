-- History of writes that the server goes on with. A script notes it beside data that a failover may lose: under another
-- one, acknowledged writes may be gone. It goes before the scripts that need it, and takes about 5 microseconds.
--
-- A server draws a new replication id when it starts, when it is promoted, and when it takes its first replica. The
-- embedded server starts over data that it knows to be whole; it is given the same number then, as the size of a backlog
-- that is never made (store/embedded/lineage.py). No backlog of a server with replicas is that large.

local LEAST_LINEAGE = 2 ^ 50

-- Returns its name, or nil where the user may not ask for it.
local function origin()
    local told = redis.pcall('INFO', 'replication')
    if type(told) ~= 'string' then return nil end
    local _, before = told:find('repl_backlog_size:', 1, true)
    local size = before and tonumber(told:match('^%d+', before + 1))
    if size and size >= LEAST_LINEAGE then return string.format('embedded:%.0f', size) end
    _, before = told:find('master_replid:', 1, true)
    return before and told:match('^%x+', before + 1)
end
