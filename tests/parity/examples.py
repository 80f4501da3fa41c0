"""Members of a cache key: candles of BTC-USD:5m, members that are not, and small changes of a candle."""

from __future__ import annotations

import json

from hypothesis import strategies as st

T = 1_725_000_000_000
SCORE = str(T).encode()
STEP = 300_000
GOOD = {
    "timestamp": T,
    "open": 61234.5,
    "high": 61250,
    "low": 0.5e5,
    "close": 61240.0,
    "volume": 0,
    "symbol": "BTC-USD",
    "timeframe": "5m",
}
TEXT = json.dumps(GOOD)

ACCEPTED = {
    "as_python_writes": TEXT,
    "compact": json.dumps(GOOD, separators=(",", ":")),
    "spaced": " \t\r\n" + json.dumps(GOOD, indent=2) + "\n",
    "sequence_number": TEXT.replace("{", '{"sequenceNum": 12, '),
    "extra_keys": TEXT.replace("{", '{"": null, "x": [{"timestamp": "no"}, true, -0.5e-3], '),
    "repeated_key_last_wins": TEXT.replace("{", '{"open": "1", "symbol": 3, '),
    "escaped_key": TEXT.replace("symbol", "\\u0073ymbol"),
    "escaped_value": TEXT.replace("BTC-USD", "BTC\\u002dUSD"),
    "lone_surrogate_elsewhere": TEXT.replace("{", '{"x": "\\ud800", '),
    "not_ascii_elsewhere": TEXT.replace("{", '{"ключ": "😀", '),
    "timestamp_as_javascript_may_write": TEXT.replace(str(T), "1.7250e+12"),
    "timestamp_with_fraction_zero": TEXT.replace(str(T), f"{T}.0"),
    "tiny_volume": TEXT.replace('"volume": 0', '"volume": 1e-999'),
    "volume_minus_zero": TEXT.replace('"volume": 0', '"volume": -0.0'),
    "tiny_prices": TEXT.replace("61234.5", "5e-324").replace("50000.0", f"0.{'0' * 250}1"),
    "high_is_low": TEXT.replace("61250", "50000.0"),
    "open_and_close_outside": TEXT.replace("61234.5", "70000").replace("61240.0", "1"),
    "as_the_feeder_writes": TEXT.replace(
        "}", ', "isSynthetic": false, "exchange": "coinbase", "exchangeTimestamp": 1725000012345, "sequenceNum": 7}'
    ),
    "the_feeder_s_fields_otherwise": TEXT.replace(
        "}", ', "isSynthetic": "no", "exchange": "\\u0063", "exchangeTimestamp": "08:05", "sequenceNum": 1.5e3}'
    ),
    "deep": TEXT.replace("{", '{"x": ' + "[" * 63 + "]" * 63 + ", "),
    "brackets_in_strings": TEXT.replace("{", '{"x": "' + "[{" * 100 + '\\"", '),
}
REFUSED = {
    "empty": ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    "no_object": ("[]", "JSON, but no object"),
    "number": ("1", "JSON, but no object"),
    "nothing_in_it": ("{}", "symbol is absent; it must be 'BTC-USD'"),
    "other_symbol": (TEXT.replace("BTC", "ETH"), "symbol is 'ETH-USD'; it must be 'BTC-USD'"),
    "other_timeframe": (TEXT.replace("5m", "1m"), "timeframe is '1m'; it must be '5m'"),
    "symbol_null": (TEXT.replace('"BTC-USD"', "null"), "symbol is None; it must be 'BTC-USD'"),
    "lone_surrogate": (
        TEXT.replace("BTC-USD", "BTC-USD\\udfff"),
        "symbol is 'BTC-USD\\udfff'; it must be 'BTC-USD'",
    ),
    "other_timestamp": (
        TEXT.replace(str(T), str(T + 1)),
        "timestamp is 1725000000001.0; it must equal the score 1725000000000",
    ),
    "timestamp_text": (
        TEXT.replace(str(T), f'"{T}"'),
        "timestamp is '1725000000000'; it must equal the score 1725000000000",
    ),
    "timestamp_true": (
        TEXT.replace(str(T), "true"),
        "timestamp is True; it must equal the score 1725000000000",
    ),
    "price_text": (TEXT.replace("61250", '"61250"'), "high is '61250'; it must be a finite number"),
    "price_null": (TEXT.replace("61250", "null"), "high is None; it must be a finite number"),
    "price_true": (TEXT.replace("61250", "true"), "high is True; it must be a finite number"),
    "price_infinite": (TEXT.replace("61250", "1e999"), "high is inf; it must be a finite number"),
    "price_of_400_digits": (TEXT.replace("61250", "1" * 400), "high is inf; it must be a finite number"),
    "price_object": (TEXT.replace("61250", "{}"), "high is {}; it must be a finite number"),
    "price_zero": (TEXT.replace("61234.5", "0"), "open is 0.0; it must be > 0"),
    "price_zero_in_digits": (TEXT.replace("61234.5", "0.000"), "open is 0.0; it must be > 0"),
    "price_below_the_least_double": (TEXT.replace("61234.5", "1e-999"), "open is 0.0; it must be > 0"),
    "price_of_so_many_zeros": (TEXT.replace("61234.5", f"0.{'0' * 330}1"), "open is 0.0; it must be > 0"),
    "price_negative": (TEXT.replace("61240.0", "-61240.0"), "close is -61240.0; it must be > 0"),
    "volume_negative": (TEXT.replace('"volume": 0', '"volume": -1e-9'), "volume is -1e-09; it must be >= 0"),
    "high_below_low": (TEXT.replace("61250", "49999.99"), "high is 49999.99; it must be >= low 50000.0"),
    "volume_absent": (TEXT.replace('"volume"', '"volum"'), "volume is absent; it must be a finite number"),
    "repeated_key_last_loses": (
        TEXT.replace("}", ', "low": null}'),
        "low is None; it must be a finite number",
    ),
    "byte_order_mark": ("\ufeff" + TEXT, None),
    "not_a_number": (TEXT.replace("61250", "NaN"), "not JSON: NaN is not a JSON number"),
    "infinity": (TEXT.replace("61250", "-Infinity"), "not JSON: -Infinity is not a JSON number"),
    "leading_zero": (TEXT.replace("61250", "061250"), None),
    "plus": (TEXT.replace("61250", "+61250"), None),
    "bare_point": (TEXT.replace("61250", "61250."), None),
    "trailing_comma": (TEXT.replace("}", ",}"), None),
    "trailing_text": (TEXT + "x", None),
    "two_objects": (TEXT + TEXT, None),
    "cut": (TEXT[:-1], None),
    "control_character": (TEXT.replace("{", '{"a\nb": 1, '), None),
    "bad_escape": (TEXT.replace("{", '{"a\\x": 1, '), None),
    "single_quotes": (TEXT.replace('"', "'"), None),
    "too_deep": (TEXT.replace("{", '{"x": ' + "[" * 64 + "]" * 64 + ", "), "nested deeper than 64 levels"),
    "far_too_deep": ("[" * 100_000, "nested deeper than 64 levels"),
}


def mutated() -> st.SearchStrategy[bytes]:
    """A good member with a span replaced by bytes that matter to the grammar."""
    pieces = st.sampled_from(
        [
            *(bytes([byte]) for byte in b'"\\{}[],:e.-0 \n\x00\xc3'),
            *(b"", b"\\u00", b"null", b"NaN", b"true", b"1e999", b"1e308", b'"open":', b"\xf0\x9f\x98\x80"),
        ]
    )
    spans = st.tuples(st.integers(0, len(TEXT)), st.integers(0, 6), st.lists(pieces, max_size=3).map(b"".join))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        member = TEXT.encode()
        for at, length, piece in changes:
            member = member[:at] + piece + member[at + length :]
        return member

    return st.lists(spans, min_size=1, max_size=3).map(apply)
