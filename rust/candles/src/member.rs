//! Writes members in the form that the cache's readers expect.

use std::io::Write;

/// The values of a candle in its member, besides symbol and timeframe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// Open time (ms).
    pub timestamp: i64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Traded amount.
    pub volume: f64,
    /// Sequence number on the websocket connection, for live candles only.
    pub sequence: Option<i64>,
}

/// Writes a member; `names` is its part `"symbol":"...","timeframe":"..."` in JSON.
///
/// Each number is the shortest text without an exponent that is read as the same double: 88000, 0.0000001. All values
/// must be finite, else the text is not valid JSON.
#[must_use]
pub fn write_member(values: &Values, names: &str) -> Vec<u8> {
    let Values {
        timestamp,
        open,
        high,
        low,
        close,
        volume,
        sequence,
    } = values;
    let mut member = Vec::with_capacity(160);
    // Writing to memory cannot fail.
    let _ = write!(
        member,
        r#"{{"timestamp":{timestamp},"open":{open},"high":{high},"low":{low},"close":{close},"volume":{volume},{names}"#
    );
    if let Some(number) = sequence {
        let _ = write!(member, r#","sequenceNum":{number}"#);
    }
    member.push(b'}');
    member
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candle::{Kind, Series, kind_of};

    const NAMES: &str = r#""symbol":"BTC-USD","timeframe":"5m""#;

    #[test]
    fn writes_what_readers_take_for_a_candle() {
        let mut values = Values {
            timestamp: 1_725_000_000_000,
            open: 88000.0,
            high: 88000.5,
            low: 0.000_000_1,
            close: 1e22,
            volume: 0.0,
            sequence: None,
        };
        let plain = write_member(&values, NAMES);
        assert_eq!(
            str::from_utf8(&plain),
            Ok(
                r#"{"timestamp":1725000000000,"open":88000,"high":88000.5,"low":0.0000001,"close":10000000000000000000000,"volume":0,"symbol":"BTC-USD","timeframe":"5m"}"#
            )
        );
        values.sequence = Some(7);
        let live = write_member(&values, NAMES);
        assert!(live.ends_with(br#""timeframe":"5m","sequenceNum":7}"#));
        let series = Series {
            symbol: "BTC-USD",
            timeframe: "5m",
            step: 300_000,
        };
        for member in [plain, live] {
            assert_eq!(kind_of(&member, 1_725_000_000_000.0, series), Kind::Candle);
        }
    }
}
