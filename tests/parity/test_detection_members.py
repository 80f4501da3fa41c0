"""Which members are candles: one table, both implementations, and arbitrary bytes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine.detection import members
from reconciler_engine.detection.members import Members, check_members_pure, explain_member

T = 1_725_100_000_000
SCORE = str(T).encode()
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
    "timestamp_as_javascript_may_write": TEXT.replace(str(T), "1.7251e+12"),
    "timestamp_with_fraction_zero": TEXT.replace(str(T), f"{T}.0"),
    "tiny_number": TEXT.replace("61234.5", "1e-999"),
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
        "timestamp is 1725100000001.0; it must equal the score 1725100000000",
    ),
    "timestamp_text": (
        TEXT.replace(str(T), f'"{T}"'),
        "timestamp is '1725100000000'; it must equal the score 1725100000000",
    ),
    "timestamp_true": (
        TEXT.replace(str(T), "true"),
        "timestamp is True; it must equal the score 1725100000000",
    ),
    "price_text": (TEXT.replace("61250", '"61250"'), "high is '61250'; it must be a finite number"),
    "price_null": (TEXT.replace("61250", "null"), "high is None; it must be a finite number"),
    "price_true": (TEXT.replace("61250", "true"), "high is True; it must be a finite number"),
    "price_infinite": (TEXT.replace("61250", "1e999"), "high is inf; it must be a finite number"),
    "price_of_400_digits": (TEXT.replace("61250", "1" * 400), "high is inf; it must be a finite number"),
    "price_object": (TEXT.replace("61250", "{}"), "high is {}; it must be a finite number"),
    "volume_absent": (TEXT.replace('"volume"', '"volum"'), "volume is absent; it must be a finite number"),
    "repeated_key_last_loses": (
        TEXT.replace("}", ', "low": null}'),
        "low is None; it must be a finite number",
    ),
    "byte_order_mark": ("\ufeff" + TEXT, None),
    "not_a_number": (TEXT.replace("61250", "NaN"), "not JSON: NaN is no JSON number"),
    "infinity": (TEXT.replace("61250", "-Infinity"), "not JSON: -Infinity is no JSON number"),
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


@pytest.fixture(params=["native", "pure"])
def check(request):
    return members.native_checker() if request.param == "native" else check_members_pure


def columns(answer: Members) -> tuple[list[int], list[int], list[int]]:
    return answer.timestamps.tolist(), answer.duplicates.tolist(), answer.malformed.tolist()


@pytest.mark.parametrize("name", ACCEPTED)
def test_candles(check, name):
    assert columns(check([ACCEPTED[name].encode(), SCORE], "BTC-USD", "5m")) == ([T], [], [])
    assert explain_member(ACCEPTED[name].encode(), SCORE, "BTC-USD", "5m") is None


@pytest.mark.parametrize("name", REFUSED)
def test_no_candles(check, name):
    text, reason = REFUSED[name]
    assert columns(check([text.encode(), SCORE], "BTC-USD", "5m")) == ([], [], [T])
    explained = explain_member(text.encode(), SCORE, "BTC-USD", "5m")
    assert explained is not None
    assert explained.startswith("not JSON: ") if reason is None else explained == reason


def test_bytes_that_are_no_text(check):
    member = TEXT.encode().replace(b"{", b'{"\xff": 1, ')
    assert columns(check([member, SCORE], "BTC-USD", "5m")) == ([], [], [T])
    assert explain_member(member, SCORE, "BTC-USD", "5m") == "not UTF-8 at byte 2"


@pytest.mark.parametrize("score", [b"1725100000000", b"1.7251e+12", b"1725100000000.0", b"1.7251E12"])
def test_scores_in_every_spelling(check, score):
    assert columns(check([TEXT.encode(), score], "BTC-USD", "5m")) == ([T], [], [])


@pytest.mark.parametrize(
    ("score", "floored"),
    [
        (b"1.5", 1),
        (b"-1.5", -2),
        (b"inf", 2**63 - 1),
        (b"-inf", -(2**63)),
        (b"1e19", 2**63 - 1),
        (b"-1e19", -(2**63)),
        (b"9223372036854775808", 2**63 - 1),
    ],
)
def test_scores_no_candle_can_have(check, score, floored):
    member = TEXT.replace(str(T), score.decode()).encode()
    assert columns(check([member, score], "BTC-USD", "5m")) == ([], [], [floored])
    assert explain_member(member, score, "BTC-USD", "5m") == (
        f"score {score.decode()} is no whole number of milliseconds within int64"
    )


def test_duplicates_are_of_valid_members(check):
    def member(timestamp: int, volume: object) -> bytes:
        return json.dumps(GOOD | {"timestamp": timestamp, "volume": volume}).encode()

    reply = [
        *(member(1, 0), b"1"),
        *(member(2, 0), b"2", member(2, 1), b"2", member(2, 2), b"2"),
        *(member(3, 0), b"3", b"junk", b"3"),
        *(member(4, None), b"4", b"junk", b"4"),
        *(member(5, 0), b"5", b"junk", b"5", member(5, 1), b"5"),
    ]
    assert columns(check(reply, "BTC-USD", "5m")) == ([1, 2, 2, 2, 3, 5, 5], [2, 5], [3, 4, 4, 5])


def test_empty_reply(check):
    answer = check([], "BTC-USD", "5m")
    assert columns(answer) == ([], [], [])
    assert all(column.format == "q" and column.readonly for column in answer)


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        ([b"{}"], ValueError, "reply has 1 items; it must alternate members and scores (WITHSCORES)"),
        ([b"{}", b"x"], ValueError, "reply[1] is b'x': the score is no number"),
        ([b"{}", b"nan"], ValueError, "reply[1] is b'nan': the score is no number"),
        ([b"{}", b"1_0"], ValueError, "reply[1] is b'1_0': the score is no number"),
        ([b"{}", b""], ValueError, "reply[1] is b'': the score is no number"),
        ([b"{}", b"2", b"{}", b"1"], ValueError, "reply[3] is b'1': the score is below the one before it"),
        (["{}", b"1"], TypeError, "reply[0] is str; every item must be bytes"),
        ([b"{}", 1.0], TypeError, "reply[1] is float; every item must be bytes"),
    ],
)
def test_replies_that_are_none(check, reply, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check(reply, "BTC-USD", "5m")


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


@given(st.one_of(mutated(), st.binary(max_size=40)))
def test_both_agree_on_any_bytes(member):
    native = members.native_checker()([member, SCORE], "BTC-USD", "5m")
    assert columns(native) == columns(check_members_pure([member, SCORE], "BTC-USD", "5m"))
