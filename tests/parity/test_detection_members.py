"""Which members are candles: one table, both implementations, and arbitrary bytes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.parity.examples import ACCEPTED, GOOD, REFUSED, SCORE, TEXT, T, mutated

from reconciler_engine.detection import members
from reconciler_engine.detection.members import Members, check_members_pure, explain_member


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


@pytest.mark.parametrize("score", [b"1725000000000", b"1.7250e+12", b"1725000000000.0", b"1.7250E12"])
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


@given(st.one_of(mutated(), st.binary(max_size=40)))
def test_both_agree_on_any_bytes(member):
    native = members.native_checker()([member, SCORE], "BTC-USD", "5m")
    assert columns(native) == columns(check_members_pure([member, SCORE], "BTC-USD", "5m"))
