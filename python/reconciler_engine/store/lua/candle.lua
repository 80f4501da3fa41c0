-- Distinguish candles from other members. This text is put before each script that needs the rule.
--
-- A member is a candle if readers accept it: strict JSON (UTF-8, 64 levels), the series' own names, a timestamp that is
-- the score and on the grid, finite numbers: prices above 0, volume not below 0, high not below low. A candle that
-- stands for a slot without trades is a filler: marked isSynthetic, or flat with volume 0.

-- Strict JSON: each function takes the position of a value's first byte and returns the one after its last, or nil.

local function after_string(json, at)
    while true do
        at = json:find('["\\%z\1-\31]', at + 1)
        if not at then return nil end
        local sign = json:sub(at, at)
        if sign == '"' then return at + 1 end
        if sign ~= '\\' then return nil end
        if json:find('^["\\/bfnrt]', at + 1) then
            at = at + 1
        elseif json:find('^u%x%x%x%x', at + 1) then
            at = at + 5
        else
            return nil
        end
    end
end

local function after_number(json, at)
    local digits = json:match('^%-?()%d', at)
    if not digits or json:find('^0%d', digits) then return nil end
    at = json:match('^%d+()', digits)
    at = json:match('^%.%d+()', at) or at
    return json:match('^[eE][+-]?%d+()', at) or at
end

local function after_space(json, at) return json:match('^[ \t\r\n]*()', at) end

-- Text between quotes. An escape of a character outside ASCII becomes a character that no name has.
local LETTERS = { b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }
local function plain(quoted)
    return (quoted:sub(2, -2):gsub('\\(.)(%x?%x?%x?%x?)', function(sign, hex)
        if sign ~= 'u' then return (LETTERS[sign] or sign) .. hex end
        local code = tonumber(hex, 16)
        return code < 128 and string.char(code) or '\255'
    end))
end

local after_container

local function after_value(json, at, depth)
    local sign = json:sub(at, at)
    if sign == '"' then return after_string(json, at) end
    if sign == '{' or sign == '[' then return after_container(json, at, depth + 1) end
    return json:match('^true()', at) or json:match('^false()', at) or json:match('^null()', at)
        or after_number(json, at)
end

-- `fields` receives the object's values as text; of several values of one name, the last.
function after_container(json, at, depth, fields)
    if depth > 64 then return nil end
    local named = json:sub(at, at) == '{'
    local close = named and '^}()' or '^%]()'
    at = after_space(json, at + 1)
    local done = json:match(close, at)
    while not done do
        local name
        if named then
            local colon = json:sub(at, at) == '"' and after_string(json, at)
            if not colon then return nil end
            name = json:sub(at, colon - 1)
            at = json:match('^[ \t\r\n]*:[ \t\r\n]*()', colon)
            if not at then return nil end
        end
        local after = after_value(json, at, depth)
        if not after then return nil end
        if fields then fields[plain(name)] = json:sub(at, after - 1) end
        at = after_space(json, after)
        done = json:match(close, at)
        if not done then
            at = json:match('^,[ \t\r\n]*()', at)
            if not at then return nil end
        end
    end
    return done
end

local SEQUENCES = {
    '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
    '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
}
local function is_utf8(bytes)
    if not bytes:find('[\128-\255]') then return true end
    for _, sequence in ipairs(SEQUENCES) do bytes = bytes:gsub(sequence, ' ') end
    return not bytes:find('[\128-\255]')
end

-- Return the fields of a JSON object, values as text; nil if the text is not an object.
local function fields_of(json)
    local fields = {}
    local at = after_space(json, 1)
    at = json:sub(at, at) == '{' and is_utf8(json) and after_container(json, at, 1, fields)
    return at and after_space(json, at) > #json and fields or nil
end

-- Return a value as a number; nil if it is not a finite number.
local function number_in(value)
    local number = value and value:find('^[-%d]') and tonumber(value)
    return number and number > -math.huge and number < math.huge and number or nil
end

-- Pattern of the feeder's candles as JSON.stringify and json.dumps write them. Only candles match it, and matching is
-- ten times as fast as parsing.
local function form(space, symbol, timeframe)
    local next_key = ',' .. space .. '"'
    local number = '":' .. space .. '(%d+%.?%d*)' .. next_key
    return '^{"timestamp":' .. space .. '(%d+)' .. next_key .. 'open' .. number .. 'high' .. number .. 'low' .. number
        .. 'close' .. number .. 'volume' .. number .. 'symbol":' .. space .. '"' .. symbol:gsub('%p', '%%%0') .. '"'
        .. next_key .. 'timeframe":' .. space .. '"' .. timeframe .. '"()(}?)'
end
local MARK = '^, ?"isSynthetic": ?(%l+)()'
local MORE = { '^, ?"exchange": ?"[^"\\%c\128-\255]*"()', '^, ?"exchangeTimestamp": ?%d+()', '^, ?"sequenceNum": ?%d+()' }
local LIVE = '^, ?"exchange": ?"[^"\\%c\128-\255]*", ?"exchangeTimestamp": ?%d+, ?"sequenceNum": ?%d+}$'
local match, find = string.match, string.find

-- Return whether the fields after the names mark a synthetic candle; nil if the object does not end after them.
local function mark_in(json, at)
    if find(json, LIVE, at) then return false end
    local marked, after = match(json, MARK, at)
    if marked then at = (marked == 'true' or marked == 'false') and after or 0 end
    for _, field in ipairs(MORE) do at = match(json, field, at) or at end
    if match(json, '^}()', at) == #json + 1 then return marked == 'true' end
end

-- Return the series' rule, a function of a member and its score (as the server prints it). It returns 'candle',
-- 'filler' or nil, and open, high, low, close and volume.
local function rule_of(symbol, timeframe, step)
    local compact, spaced = form('', symbol, timeframe), form(' ?', symbol, timeframe)

    -- Parse a member in full; return whether it is marked synthetic, then its numbers.
    local function strict(json, score)
        local fields = fields_of(json)
        if not fields or number_in(fields.timestamp) ~= tonumber(score)
            or (fields.symbol or ''):sub(1, 1) ~= '"' or plain(fields.symbol) ~= symbol
            or (fields.timeframe or ''):sub(1, 1) ~= '"' or plain(fields.timeframe) ~= timeframe then return nil end
        return fields.isSynthetic == 'true', number_in(fields.open), number_in(fields.high), number_in(fields.low),
            number_in(fields.close), number_in(fields.volume)
    end

    return function(json, score)
        if score % step ~= 0 then return nil end
        local marked
        local timestamp, open, high, low, close, volume, at, last = match(json, compact)
        if not timestamp then timestamp, open, high, low, close, volume, at, last = match(json, spaced) end
        -- A number of fewer than 300 digits is finite. Searching plain text is much faster than matching a pattern.
        if timestamp == score and #json < 300 and not find(json, '.,', 1, true)
            and not ((find(json, ':0', 1, true) or find(json, ': 0', 1, true)) and find(json, ': ?0%d')) then
            if at == #json and last == '}' then marked = false else marked = mark_in(json, at) end
        end
        if marked == nil then
            marked, open, high, low, close, volume = strict(json, score)
            if not (open and high and low and close and volume) then return nil end
        else
            open, high, low, close, volume = open + 0, high + 0, low + 0, close + 0, volume + 0
        end
        if open <= 0 or low <= 0 or close <= 0 or high < low or volume < 0 then return nil end
        if marked or (volume == 0 and open == high and high == low and low == close) then
            return 'filler', open, high, low, close, volume
        end
        return 'candle', open, high, low, close, volume
    end
end
