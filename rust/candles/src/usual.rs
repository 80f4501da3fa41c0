//! A fast path for the usual form of a member: the feeder's fields in its order, compact as `JSON.stringify` writes
//! them or with spaces as Python's `json.dumps` does. Other members are left to the general rule.

use crate::candle::{Kind, Series};

/// The text before each value: punctuation and key.
struct Form {
    timestamp: &'static [u8],
    open: &'static [u8],
    high: &'static [u8],
    low: &'static [u8],
    close: &'static [u8],
    volume: &'static [u8],
    symbol: &'static [u8],
    timeframe: &'static [u8],
    is_synthetic: &'static [u8],
    exchange: &'static [u8],
    exchange_timestamp: &'static [u8],
    sequence: &'static [u8],
}

macro_rules! form {
    ($space:literal) => {
        Form {
            timestamp: concat!("{\"timestamp\":", $space).as_bytes(),
            open: concat!(",", $space, "\"open\":", $space).as_bytes(),
            high: concat!(",", $space, "\"high\":", $space).as_bytes(),
            low: concat!(",", $space, "\"low\":", $space).as_bytes(),
            close: concat!(",", $space, "\"close\":", $space).as_bytes(),
            volume: concat!(",", $space, "\"volume\":", $space).as_bytes(),
            symbol: concat!(",", $space, "\"symbol\":", $space, "\"").as_bytes(),
            timeframe: concat!("\",", $space, "\"timeframe\":", $space, "\"").as_bytes(),
            is_synthetic: concat!(",", $space, "\"isSynthetic\":", $space).as_bytes(),
            exchange: concat!(",", $space, "\"exchange\":", $space, "\"").as_bytes(),
            exchange_timestamp: concat!(",", $space, "\"exchangeTimestamp\":", $space).as_bytes(),
            sequence: concat!(",", $space, "\"sequenceNum\":", $space).as_bytes(),
        }
    };
}

/// Most digits of a number on the fast path, so that its double is neither infinite nor rounded to 0.
const DIGITS: usize = 300;

/// Returns the kind of `member`, or None if the general rule must decide. `score` is the text of its score, which must
/// be on the grid.
pub(crate) fn usual_kind(member: &[u8], score: &[u8], series: Series<'_>) -> Option<Kind> {
    // Whole numbers of up to 15 digits without a leading zero are equal if and only if their texts are.
    if !(1..=15).contains(&score.len()) || score[0] == b'0' || !score.iter().all(u8::is_ascii_digit) {
        return None;
    }
    kind_in_form::<false>(member, score, series).or_else(|| kind_in_form::<true>(member, score, series))
}

fn kind_in_form<const SPACED: bool>(member: &[u8], score: &[u8], series: Series<'_>) -> Option<Kind> {
    let form = const { if SPACED { form!(" ") } else { form!("") } };
    let rest = member.strip_prefix(form.timestamp)?.strip_prefix(score)?;
    let (open, rest) = Decimal::after(rest, form.open)?;
    let (high, rest) = Decimal::after(rest, form.high)?;
    let (low, rest) = Decimal::after(rest, form.low)?;
    let (close, rest) = Decimal::after(rest, form.close)?;
    let (volume, rest) = Decimal::after(rest, form.volume)?;
    if !(open.is_positive() && low.is_positive() && close.is_positive() && high.is_from(&low)) {
        return None;
    }
    let rest = rest.strip_prefix(form.symbol)?.strip_prefix(plain(series.symbol)?)?;
    let rest = rest
        .strip_prefix(form.timeframe)?
        .strip_prefix(plain(series.timeframe)?)?;
    let is_synthetic = is_marked(rest.strip_prefix(b"\"")?, &form)?;
    // A volume of 0 is rare, and left to the general rule.
    volume
        .is_positive()
        .then_some(if is_synthetic { Kind::Filler } else { Kind::Candle })
}

/// Whether the optional fields after the names mark a synthetic candle; None if other text follows.
fn is_marked(mut rest: &[u8], form: &Form) -> Option<bool> {
    let mut is_synthetic = false;
    if let Some(after) = rest.strip_prefix(form.is_synthetic) {
        let marked = after.strip_prefix(b"true");
        is_synthetic = marked.is_some();
        rest = marked.or_else(|| after.strip_prefix(b"false"))?;
    }
    if let Some(after) = rest.strip_prefix(form.exchange) {
        let length = after.iter().position(|&byte| byte == b'"')?;
        let (name, after) = after.split_at(length);
        name.iter().copied().all(is_plain).then_some(())?;
        rest = &after[1..];
    }
    if rest.starts_with(form.exchange_timestamp) {
        (_, rest) = Decimal::after(rest, form.exchange_timestamp)?;
    }
    if rest.starts_with(form.sequence) {
        (_, rest) = Decimal::after(rest, form.sequence)?;
    }
    (rest == b"}").then_some(is_synthetic)
}

/// A number written as `digits` or `digits.digits`.
struct Decimal<'a> {
    text: &'a [u8],
    /// Digits before the point.
    whole: usize,
}

impl<'a> Decimal<'a> {
    /// Consumes the key and the number after it; the number has no leading zero unless its whole part is 0.
    // Inlined so that the keys' lengths are constants in comparisons, which saves 20 ns a member.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn after(text: &'a [u8], key: &[u8]) -> Option<(Self, &'a [u8])> {
        let text = text.strip_prefix(key)?;
        let whole = digits(text);
        if whole == 0 || (whole > 1 && text[0] == b'0') {
            return None;
        }
        let length = match &text[whole..] {
            [b'.', fraction @ ..] => whole + 1 + Some(digits(fraction)).filter(|&many| many > 0)?,
            _ => whole,
        };
        let (text, rest) = text.split_at(length);
        (length <= DIGITS).then_some((Self { text, whole }, rest))
    }

    fn is_positive(&self) -> bool {
        self.text[0] != b'0' || self.text.iter().any(|byte| (b'1'..=b'9').contains(byte))
    }

    /// True if this number is proved to be at least `other`, and so is its double. False proves nothing.
    fn is_from(&self, other: &Self) -> bool {
        self.whole > other.whole || (self.whole == other.whole && self.text >= other.text)
    }
}

/// The text as bytes, if a JSON string of it needs no escapes.
fn plain(text: &str) -> Option<&[u8]> {
    text.bytes().all(is_plain).then_some(text.as_bytes())
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\')
}

/// Number of leading decimal digits.
fn digits(text: &[u8]) -> usize {
    text.iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candle::kind_of;

    const SERIES: Series<'static> = Series {
        symbol: "BTC-USD",
        timeframe: "5m",
        step: 300_000,
    };
    const SCORE: &str = "1725000000000";
    const GOOD: &str = r#"{"timestamp":1725000000000,"open":1,"high":2.5,"low":0.5,"close":20,"volume":0.00010,"symbol":"BTC-USD","timeframe":"5m"}"#;
    const TAIL: &str =
        r#","isSynthetic":false,"exchange":"coinbase","exchangeTimestamp":1725000000123,"sequenceNum":12}"#;

    fn usual(member: &str) -> Option<Kind> {
        usual_kind(member.as_bytes(), SCORE.as_bytes(), SERIES)
    }

    fn spaced(member: &str) -> String {
        member.replace(':', ": ").replace(',', ", ")
    }

    #[test]
    fn takes_the_usual_form() {
        let full = GOOD.replace('}', TAIL);
        for cut in [
            "",
            r#","isSynthetic":false"#,
            r#","exchange":"coinbase""#,
            r#","exchangeTimestamp":1725000000123"#,
            r#","sequenceNum":12"#,
        ] {
            let member = full.replace(cut, "");
            assert_eq!(usual(&member), Some(Kind::Candle), "{member}");
            assert_eq!(usual(&spaced(&member)), Some(Kind::Candle), "{member}");
        }
        assert_eq!(usual(GOOD), Some(Kind::Candle));
        assert_eq!(usual(&full.replace("false", "true")), Some(Kind::Filler));
        assert_eq!(
            usual(&GOOD.replace("2.5", "10").replace("0.5", "9.5")),
            Some(Kind::Candle)
        );
    }

    #[test]
    fn leaves_everything_else_to_the_rule() {
        for (from, to) in [
            ("1725000000000", "1725000000001"),
            ("1725000000000", "17250000000000"),
            ("BTC-USD", "BTC-US"),
            ("5m", "15m"),
            (":1,", ":01,"),
            (":1,", ":,"),
            (":1,", ":1.,"),
            (":1,", ":-1,"),
            (":1,", ":1e3,"),
            (":1,", ":0,"),
            (":1,", ":0.00,"),
            (":1,", ":\"1\","),
            (":2.5,", ":0.4,"),
            ("0.00010", "0.0"),
            ("}", "} "),
            ("}", ",\"open\":null}"),
            ("}", ",\"sequenceNum\":1,\"open\":null}"),
            ("}", ",\"sequenceNum\":1,\"exchange\":\"x\"}"),
            ("}", ",\"exchange\":\"a\\n\"}"),
            ("}", ",\"exchange\":\"\u{e9}\"}"),
            ("}", ",\"isSynthetic\":null}"),
            ("}", ""),
            ("high", "highs"),
        ] {
            assert_eq!(usual(&GOOD.replace(from, to)), None, "{from} -> {to}");
        }
        let long = "1".repeat(301);
        assert_eq!(usual(&GOOD.replace("2.5", &long)), None);
        assert_eq!(usual(&GOOD.replace("0.5", &format!("0.{}1", "0".repeat(400)))), None);
        assert_eq!(usual(""), None);
        let odd = Series {
            symbol: "\\u0041",
            ..SERIES
        };
        let member = GOOD.replace("BTC-USD", odd.symbol);
        assert_eq!(usual_kind(member.as_bytes(), SCORE.as_bytes(), odd), None);
    }

    #[test]
    fn never_contradicts_the_rule() {
        // Every single byte replaced by each of these.
        for good in [GOOD.to_owned(), spaced(&GOOD.replace('}', TAIL))] {
            for at in 0..good.len() {
                for byte in b"\0 \"',.-0159:Ee\\{}x\xff" {
                    let mut member = good.as_bytes().to_vec();
                    member[at] = *byte;
                    if let Some(kind) = usual_kind(&member, SCORE.as_bytes(), SERIES) {
                        assert_eq!(kind, kind_of(&member, 1_725_000_000_000.0, SERIES), "{at} {byte}");
                    }
                }
            }
        }
    }
}
