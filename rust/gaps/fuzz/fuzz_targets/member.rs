//! Compares the member check with an independent JSON parser, also in a scan, which has a fast path for usual members.
//!
//! The first two bytes set where the other bytes are put into a valid member, and how much of it they replace. At the
//! end of the scale, the other bytes are a member by themselves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reconciler_candles::{Kind, Scan, Series, kind_of};
use serde_json::Value;

const SERIES: Series<'static> = Series { symbol: "A-B", timeframe: "1m", step: 60_000 };
const GOOD: &[u8] = br#"{"timestamp":60000,"open":1.5,"high":2,"low":1,"close":1.25,"volume":3,"symbol":"A-B","timeframe":"1m"}"#;

fn member(bytes: &[u8]) -> Vec<u8> {
    let Some((&[at, cut], rest)) = bytes.split_first_chunk::<2>() else { return bytes.to_vec() };
    if at == u8::MAX {
        return rest.to_vec();
    }
    let from = usize::from(at) % GOOD.len();
    let to = (from + usize::from(cut) % 24).min(GOOD.len());
    [&GOOD[..from], rest, &GOOD[to..]].concat()
}

/// The parser's verdict; None if the two differ by design: the parser refuses lone surrogates and numbers beyond f64.
fn says(member: &[u8]) -> Option<Kind> {
    let Ok(text) = str::from_utf8(member) else { return Some(Kind::Other) };
    let long_number = text.split(|letter: char| !letter.is_ascii_digit()).any(|digits| digits.len() > 200);
    let exponent = text.split(['e', 'E']).skip(1).any(|behind| {
        behind.trim_start_matches(['+', '-']).bytes().take_while(u8::is_ascii_digit).count() > 2
    });
    if text.contains("\\u") || long_number || exponent {
        return None;
    }
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else { return Some(Kind::Other) };
    let number = |key: &str| object.get(key).and_then(Value::as_f64);
    let prices = ["open", "high", "low", "close"].map(|key| number(key).filter(|&price| price > 0.0));
    let own = object.get("symbol").and_then(Value::as_str) == Some(SERIES.symbol)
        && object.get("timeframe").and_then(Value::as_str) == Some(SERIES.timeframe)
        && number("timestamp") == Some(60_000.0);
    let ([Some(open), Some(high), Some(low), Some(close)], Some(volume)) = (prices, number("volume")) else {
        return Some(Kind::Other);
    };
    Some(if !own || high < low || volume < 0.0 {
        Kind::Other
    } else if object.get("isSynthetic") == Some(&Value::Bool(true))
        || (volume == 0.0 && [high, low, close] == [open; 3])
    {
        Kind::Filler
    } else {
        Kind::Candle
    })
}

fuzz_target!(|bytes: &[u8]| {
    let member = member(bytes);
    let found = kind_of(&member, 60_000.0, SERIES);
    // Beyond the check's limit of depth the parser decides differently: its limit is 128.
    let opened = member.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opened < 64 && let Some(truth) = says(&member) {
        assert_eq!(found, truth);
    }
    let mut scan = Scan::default();
    scan.push(&member, b"60000", SERIES).expect("the score is a number");
    let scanned = match (&scan.timestamps[..], &scan.fillers[..], &scan.malformed[..]) {
        ([60_000], [], []) => Kind::Candle,
        ([60_000], [60_000], []) => Kind::Filler,
        ([], [], [60_000]) => Kind::Other,
        _ => panic!("{scan:?}"),
    };
    assert_eq!(scanned, found);
});
