-- What a candle is. It goes before each script that must tell candles from other members.

local PRICES = { 'open', 'high', 'low', 'close', 'volume' }

local function finite(value)
    return type(value) == 'number' and value == value and value > -math.huge and value < math.huge
end

-- The candle in a member, or nil where the member is no candle of this series in this slot.
local function candle_of(member, score, symbol, timeframe)
    local ok, candle = pcall(cjson.decode, member)
    if not ok or type(candle) ~= 'table' then return nil end
    if candle.symbol ~= symbol or candle.timeframe ~= timeframe or candle.timestamp ~= score then return nil end
    for _, field in ipairs(PRICES) do
        if not finite(candle[field]) then return nil end
    end
    return candle
end
