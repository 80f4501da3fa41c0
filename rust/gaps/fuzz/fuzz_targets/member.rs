//! The member check against an independent JSON parser, on any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reconciler_candles::{Series, is_candle};
use serde_json::Value;

const SERIES: Series<'static> = Series { symbol: "A-B", timeframe: "1m" };

/// What the parser says; None where the two differ on purpose: it refuses lone surrogates and numbers past f64.
fn says(bytes: &[u8]) -> Option<bool> {
    let text = str::from_utf8(bytes).unwrap_or("");
    if text.contains("\\u") || text.contains(['e', 'E']) && text.bytes().filter(u8::is_ascii_digit).count() > 2 {
        return None;
    }
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else { return Some(false) };
    let number = |key: &str| object.get(key).and_then(Value::as_f64).is_some_and(f64::is_finite);
    Some(
        object.get("symbol").and_then(Value::as_str) == Some(SERIES.symbol)
            && object.get("timeframe").and_then(Value::as_str) == Some(SERIES.timeframe)
            && object.get("timestamp").and_then(Value::as_f64) == Some(5.0)
            && ["open", "high", "low", "close", "volume"].into_iter().all(number),
    )
}

fuzz_target!(|bytes: &[u8]| {
    let found = is_candle(bytes, 5.0, SERIES);
    // Deeper than our bound the parser's own, of 128, decides otherwise.
    let opened = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opened < 64 && let Some(truth) = says(bytes) {
        assert_eq!(found, truth);
    }
});
