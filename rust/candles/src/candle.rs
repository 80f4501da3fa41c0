//! One member: is it a candle of the series?

use crate::scanner::{Scanner, Text, Value};

/// Whose candles are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// The product, as the members spell it.
    pub symbol: &'a str,
    /// The timeframe, as the members spell it.
    pub timeframe: &'a str,
}

/// The keys a candle needs, a bit each.
const KEYS: [&str; 8] = [
    "timestamp",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "symbol",
    "timeframe",
];
const ALL_GOOD: u8 = u8::MAX;

/// Whether `member` is a candle of `series` whose open time is `score`.
#[must_use]
pub fn is_candle(member: &[u8], score: f64, series: Series<'_>) -> bool {
    let whole = score.fract() == 0.0 && i64_holds(score);
    whole && str::from_utf8(member).is_ok() && good_keys(member, score, series) == Some(ALL_GOOD)
}

/// Whether a whole double is an int64 value; the upper bound 2^63 itself is none.
fn i64_holds(whole: f64) -> bool {
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole)
}

/// The keys whose last value is as it should be; None where the member is no JSON object.
fn good_keys(member: &[u8], score: f64, series: Series<'_>) -> Option<u8> {
    let mut scanner = Scanner::new(member);
    scanner.skip_space();
    if !scanner.take(b'{') {
        return None;
    }
    let mut good = 0;
    scanner.skip_space();
    if !scanner.take(b'}') {
        loop {
            let key = scanner.key()?;
            let value = scanner.value(1)?;
            if let Some(bit) = bit_of(key) {
                let mask = 1 << bit;
                good = if is_good(bit, &value, score, series) {
                    good | mask
                } else {
                    good & !mask
                };
            }
            scanner.skip_space();
            if scanner.take(b'}') {
                break;
            }
            if !scanner.take(b',') {
                return None;
            }
        }
    }
    scanner.skip_space();
    scanner.is_done().then_some(good)
}

/// The position of a key among [`KEYS`].
fn bit_of(key: Text<'_>) -> Option<u8> {
    if key.escaped {
        return (0..8).zip(KEYS).find_map(|(bit, name)| key.says(name).then_some(bit));
    }
    match key.raw {
        b"timestamp" => Some(0),
        b"open" => Some(1),
        b"high" => Some(2),
        b"low" => Some(3),
        b"close" => Some(4),
        b"volume" => Some(5),
        b"symbol" => Some(6),
        b"timeframe" => Some(7),
        _ => None,
    }
}

fn is_good(bit: u8, value: &Value<'_>, score: f64, series: Series<'_>) -> bool {
    match (bit, value) {
        // Exact: both sides are doubles, as they are for every reader of the cache.
        #[allow(clippy::float_cmp)]
        (0, Value::Number(number)) => number.value() == score,
        (1..=5, Value::Number(number)) => number.is_finite(),
        (6, Value::Text(text)) => text.says(series.symbol),
        (7, Value::Text(text)) => text.says(series.timeframe),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series<'static> = Series {
        symbol: "BTC-USD",
        timeframe: "5m",
    };
    const GOOD: &str = r#"{"timestamp":1725100000000,"open":1,"high":2.5,"low":0.5,"close":2,"volume":1e3,"symbol":"BTC-USD","timeframe":"5m"}"#;

    fn accepts(member: &str) -> bool {
        is_candle(member.as_bytes(), 1_725_100_000_000.0, SERIES)
    }

    #[test]
    fn takes_a_candle() {
        assert!(accepts(GOOD));
        assert!(accepts(&GOOD.replace(':', " : ").replace(',', "\n,\t")));
        assert!(accepts(&GOOD.replace("symbol", r"s\u0079mbol")));
        assert!(accepts(&GOOD.replace('{', r#"{"sequenceNum":7,"extra":{"a":[1,{}]},"#)));
        assert!(accepts(&GOOD.replace("1725100000000", "1.7251e12")));
        assert!(accepts(&GOOD.replace('{', r#"{"open":"no","#)));
    }

    #[test]
    fn refuses_everything_else() {
        for (from, to) in [
            ("1725100000000", "1725100000001"),
            ("1725100000000", "\"1725100000000\""),
            ("BTC", "ETH"),
            ("5m", "1m"),
            ("2.5", "null"),
            ("2.5", "true"),
            ("2.5", "\"2.5\""),
            ("2.5", "1e999"),
            ("2.5", "NaN"),
            ("\"volume\":1e3,", ""),
            ("}", ",\"open\":null}"),
            ("}", "} x"),
            ("}", ""),
            ("{", "["),
        ] {
            assert!(!accepts(&GOOD.replace(from, to)), "{from} -> {to}");
        }
        assert!(!accepts("") && !accepts("{}") && !accepts("[]") && !accepts("\u{feff}{}"));
        assert!(!is_candle(
            &[GOOD.as_bytes(), b"\xff"].concat(),
            1_725_100_000_000.0,
            SERIES
        ));
        assert!(!is_candle(GOOD.replace("1725100000000", "1.5").as_bytes(), 1.5, SERIES));
        assert!(!is_candle(
            GOOD.replace("1725100000000", "1e19").as_bytes(),
            1e19,
            SERIES
        ));
    }
}
