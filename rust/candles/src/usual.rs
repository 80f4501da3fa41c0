//! The usual form of a member: as `JSON.stringify` writes the feeder's candles. A shortcut, never a verdict.

use crate::candle::Series;

/// Keys and punctuation before each of the numbers that follow the timestamp.
const BEFORE: [&[u8]; 5] = [
    b",\"open\":",
    b",\"high\":",
    b",\"low\":",
    b",\"close\":",
    b",\"volume\":",
];

/// Whether `member` is a candle of `series` in the usual form, whose score was printed as `score`.
///
/// True is proof: nothing but a candle of the series has this form. False says nothing.
pub(crate) fn is_usual_candle(member: &[u8], score: &[u8], series: Series<'_>) -> bool {
    tail_after_numbers(member, score).is_some_and(|tail| ends_as(tail, series))
}

/// Takes the opening, the timestamp as the score was printed, and five plain numbers.
fn tail_after_numbers<'a>(member: &'a [u8], score: &[u8]) -> Option<&'a [u8]> {
    // Up to fifteen digits without a leading zero are the same whole number in both spellings.
    if !(1..=15).contains(&score.len()) || score[0] == b'0' || !score.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut rest = member.strip_prefix(b"{\"timestamp\":")?.strip_prefix(score)?;
    for before in BEFORE {
        rest = after_number(rest.strip_prefix(before)?)?;
    }
    Some(rest)
}

/// Takes `digits` or `digits.digits`: too short to be infinite, and no zero leads unless it is alone.
fn after_number(text: &[u8]) -> Option<&[u8]> {
    let whole = digits(text);
    if !(1..=32).contains(&whole) || (whole > 1 && text[0] == b'0') {
        return None;
    }
    let [b'.', fraction @ ..] = &text[whole..] else {
        return Some(&text[whole..]);
    };
    match digits(fraction) {
        0 => None,
        many => Some(&fraction[many..]),
    }
}

/// Whether the rest names the series and ends the object; a sequence number may follow the names.
fn ends_as(tail: &[u8], series: Series<'_>) -> bool {
    let names = || {
        let timeframe = tail
            .strip_prefix(b",\"symbol\":\"")?
            .strip_prefix(plain(series.symbol)?)?
            .strip_prefix(b"\",\"timeframe\":\"")?;
        timeframe.strip_prefix(plain(series.timeframe)?)?.strip_prefix(b"\"")
    };
    match names() {
        Some(b"}") => true,
        Some(rest) => rest
            .strip_prefix(b",\"sequenceNum\":")
            .and_then(after_number)
            .is_some_and(|end| end == b"}"),
        None => false,
    }
}

/// The text as it stands between quotes, if that takes no escapes.
fn plain(text: &str) -> Option<&[u8]> {
    let simple = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    text.as_bytes().iter().all(simple).then_some(text.as_bytes())
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
    use crate::candle::is_candle;

    const SERIES: Series<'static> = Series {
        symbol: "BTC-USD",
        timeframe: "5m",
    };
    const SCORE: &str = "1725100000000";
    const GOOD: &str = r#"{"timestamp":1725100000000,"open":1,"high":2.5,"low":0.5,"close":20,"volume":0.00010,"symbol":"BTC-USD","timeframe":"5m"}"#;

    fn takes(member: &[u8]) -> bool {
        is_usual_candle(member, SCORE.as_bytes(), SERIES)
    }

    #[test]
    fn takes_the_usual_form() {
        assert!(takes(GOOD.as_bytes()));
        assert!(takes(GOOD.replace("\"5m\"", "\"5m\",\"sequenceNum\":12").as_bytes()));
    }

    #[test]
    fn leaves_everything_else_to_the_rule() {
        for (from, to) in [
            ("1725100000000", "1725100000001"),
            ("1725100000000", "17251000000000"),
            ("BTC-USD", "BTC-US"),
            ("5m", "15m"),
            (":1,", ":01,"),
            (":1,", ":,"),
            (":1,", ":1.,"),
            (":1,", ":-1,"),
            (":1,", ":1e3,"),
            (":1,", ":\"1\","),
            ("}", "} "),
            ("}", ",\"open\":null}"),
            ("}", ",\"sequenceNum\":1,\"open\":null}"),
            ("}", ""),
            ("high", "highs"),
        ] {
            assert!(!takes(GOOD.replace(from, to).as_bytes()), "{from} -> {to}");
        }
        assert!(!takes(b""));
        let odd = Series {
            symbol: "\\u0041",
            timeframe: "5m",
        };
        let member = GOOD.replace("BTC-USD", odd.symbol);
        assert!(!is_usual_candle(member.as_bytes(), SCORE.as_bytes(), odd));
    }

    #[test]
    fn never_takes_what_the_rule_refuses() {
        // Every single byte replaced by each of these.
        for at in 0..GOOD.len() {
            for byte in b"\0 \"',.-0159:Ee\\{}x\xff" {
                let mut member = GOOD.as_bytes().to_vec();
                member[at] = *byte;
                if takes(&member) {
                    assert!(is_candle(&member, 1_725_100_000_000.0, SERIES), "{at} {byte}");
                }
            }
        }
    }
}
