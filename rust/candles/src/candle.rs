//! Decides about a single member whether it is a candle of its series.

use crate::scanner::{Scanner, Text, Value};

/// The series whose candles are searched.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Product id, as written in the members.
    pub symbol: &'a str,
    /// Name of the timeframe, as written in the members.
    pub timeframe: &'a str,
    /// The grid's step (ms), positive; the grid contains the epoch.
    pub step: i64,
}

/// Kind of a member, as the readers of a series treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A candle.
    Candle,
    /// A candle for a slot without trades: marked `isSynthetic`, or with one price and volume 0.
    Filler,
    /// Anything else.
    Other,
}

/// Returns the kind of a member; `score` is its score, which must be its open time.
#[must_use]
pub fn kind_of(member: &[u8], score: f64, series: Series<'_>) -> Kind {
    let in_place = is_open_time(score, series.step) && str::from_utf8(member).is_ok();
    let fields = if in_place { fields_of(member) } else { None };
    fields.map_or(Kind::Other, |fields| fields.kind(score, series))
}

/// Whether a score is on the grid: a whole number within int64 (so below 2^63) that `step` divides.
fn is_open_time(score: f64, step: i64) -> bool {
    // The cast is exact if the conditions before it hold.
    #[allow(clippy::cast_possible_truncation)]
    let at = score as i64;
    let whole = score.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&score);
    whole && at.checked_rem(step) == Some(0)
}

/// The last value of each field of a candle; None if it is absent or of another type.
#[derive(Default)]
struct Fields<'a> {
    timestamp: Option<f64>,
    open: Option<f64>,
    high: Option<f64>,
    low: Option<f64>,
    close: Option<f64>,
    volume: Option<f64>,
    symbol: Option<Text<'a>>,
    timeframe: Option<Text<'a>>,
    is_synthetic: bool,
}

/// The fields of a member; None if it is not a JSON object.
fn fields_of(member: &[u8]) -> Option<Fields<'_>> {
    let mut scanner = Scanner::new(member);
    scanner.skip_space();
    if !scanner.take(b'{') {
        return None;
    }
    let mut fields = Fields::default();
    scanner.skip_space();
    if !scanner.take(b'}') {
        loop {
            let key = scanner.key()?;
            let value = scanner.value(1)?;
            fields.note(key, &value);
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
    scanner.is_done().then_some(fields)
}

impl<'a> Fields<'a> {
    fn note(&mut self, key: Text<'a>, value: &Value<'a>) {
        let resolved = key.resolved();
        let Some(name) = resolved.as_deref() else { return };
        let number = match value {
            Value::Number(number) => Some(number.value()),
            _ => None,
        };
        let text = match value {
            Value::Text(text) => Some(*text),
            _ => None,
        };
        match name {
            "timestamp" => self.timestamp = number,
            "open" => self.open = number,
            "high" => self.high = number,
            "low" => self.low = number,
            "close" => self.close = number,
            "volume" => self.volume = number,
            "symbol" => self.symbol = text,
            "timeframe" => self.timeframe = text,
            "isSynthetic" => self.is_synthetic = matches!(value, Value::True),
            _ => {}
        }
    }

    fn kind(&self, score: f64, series: Series<'_>) -> Kind {
        let says = |text: Option<Text<'_>>, name| text.is_some_and(|text| text.says(name));
        let is_its_own =
            self.timestamp == Some(score) && says(self.symbol, series.symbol) && says(self.timeframe, series.timeframe);
        match (self.open, self.high, self.low, self.close, self.volume) {
            (Some(open), Some(high), Some(low), Some(close), Some(volume))
                if is_its_own && is_sound([open, high, low, close], volume) =>
            {
                // Exact: as every reader of the cache compares them.
                #[allow(clippy::float_cmp)]
                let is_flat = volume == 0.0 && open == high && high == low && low == close;
                if self.is_synthetic || is_flat {
                    Kind::Filler
                } else {
                    Kind::Candle
                }
            }
            _ => Kind::Other,
        }
    }
}

/// Whether readers accept the values of a candle; `prices` are open, high, low and close.
fn is_sound(prices: [f64; 4], volume: f64) -> bool {
    let [_, high, low, _] = prices;
    prices.iter().all(|price| *price > 0.0 && price.is_finite()) && high >= low && volume >= 0.0 && volume.is_finite()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SERIES: Series<'static> = Series {
        symbol: "BTC-USD",
        timeframe: "5m",
        step: 300_000,
    };
    const GOOD: &str = r#"{"timestamp":1725000000000,"open":1,"high":2.5,"low":0.5,"close":2,"volume":1e3,"symbol":"BTC-USD","timeframe":"5m"}"#;

    fn kind(member: &str) -> Kind {
        kind_of(member.as_bytes(), 1_725_000_000_000.0, SERIES)
    }

    fn accepts(member: &str) -> bool {
        kind(member) == Kind::Candle
    }

    #[test]
    fn takes_a_candle() {
        assert!(accepts(GOOD));
        assert!(accepts(&GOOD.replace(':', " : ").replace(',', "\n,\t")));
        assert!(accepts(&GOOD.replace("symbol", r"s\u0079mbol")));
        assert!(accepts(&GOOD.replace('{', r#"{"sequenceNum":7,"extra":{"a":[1,{}]},"#)));
        assert!(accepts(&GOOD.replace("1725000000000", "1.725e12")));
        assert!(accepts(&GOOD.replace('{', r#"{"open":"no","#)));
    }

    #[test]
    fn refuses_everything_else() {
        for (from, to) in [
            ("1725000000000", "1725000000001"),
            ("1725000000000", "\"1725000000000\""),
            ("BTC", "ETH"),
            ("5m", "1m"),
            ("2.5", "null"),
            ("2.5", "true"),
            ("2.5", "\"2.5\""),
            ("2.5", "1e999"),
            ("2.5", "0.4"),
            ("\"open\":1", "\"open\":0"),
            ("\"open\":1", "\"open\":1e-999"),
            ("0.5", "-0.5"),
            ("1e3", "-1e-300"),
            ("1e3", "1e999"),
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
        let other = |member: &[u8], score| kind_of(member, score, SERIES) == Kind::Other;
        assert!(other(&[GOOD.as_bytes(), b"\xff"].concat(), 1_725_000_000_000.0));
        for off in ["1.5", "1725000000001", "1e19"] {
            assert!(
                other(GOOD.replace("1725000000000", off).as_bytes(), off.parse().unwrap()),
                "{off}"
            );
        }
    }

    #[test]
    fn tells_fillers_from_bars_of_trades() {
        let flat = GOOD.replace("2.5", "1.0").replace("0.5", "10e-1").replace(":2,", ":1,");
        assert_eq!(kind(&flat), Kind::Candle);
        assert_eq!(kind(&flat.replace("1e3", "-0.0")), Kind::Filler);
        assert_eq!(kind(&GOOD.replace("1e3", "0")), Kind::Candle);
        assert_eq!(kind(&GOOD.replace('}', r#","isSynthetic":true}"#)), Kind::Filler);
        assert_eq!(kind(&GOOD.replace('}', r#","isSynth\u0065tic":true}"#)), Kind::Filler);
        for other in ["false", "1", r#""true""#, "true,\"isSynthetic\":null"] {
            assert_eq!(
                kind(&GOOD.replace('}', &format!(r#","isSynthetic":{other}}}"#))),
                Kind::Candle
            );
        }
    }
}
