//! Decides which members of a candle cache key are candles of its series.
