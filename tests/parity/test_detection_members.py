"""Tell candles from other members: one table, both implementations, and arbitrary bytes."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.parity.examples import ACCEPTED, GOOD, REFUSED, SCORE, STEP, TEXT, T, mutated

from reconciler_engine.detection import members
from reconciler_engine.detection.members import Members, check_members_pure, explain_member


@pytest.fixture(params=["native", "pure"])
def check(request):
    return members.native_checker() if request.param == "native" else check_members_pure


def columns(answer: Members) -> tuple[list[int], list[int], list[int]]:
    return answer.timestamps.tolist(), answer.duplicates.tolist(), answer.malformed.tolist()


def flat(timestamp: int, volume: object = 0, **more: object) -> bytes:
    """A member whose prices are all one."""
    return json.dumps(
        GOOD | dict.fromkeys(("open", "high", "low", "close"), 5) | more | {"timestamp": timestamp, "volume": volume}
    ).encode()


@pytest.mark.parametrize("name", ACCEPTED)
def test_candles(check, name):
    assert columns(check([ACCEPTED[name].encode(), SCORE], "BTC-USD", "5m", STEP)) == ([T], [], [])
    assert explain_member(ACCEPTED[name].encode(), SCORE, "BTC-USD", "5m", STEP) is None


@pytest.mark.parametrize("name", REFUSED)
def test_no_candles(check, name):
    text, reason = REFUSED[name]
    assert columns(check([text.encode(), SCORE], "BTC-USD", "5m", STEP)) == ([], [], [T])
    explained = explain_member(text.encode(), SCORE, "BTC-USD", "5m", STEP)
    assert explained is not None
    assert explained.startswith("not JSON: ") if reason is None else explained == reason


def test_bytes_that_are_no_text(check):
    member = TEXT.encode().replace(b"{", b'{"\xff": 1, ')
    assert columns(check([member, SCORE], "BTC-USD", "5m", STEP)) == ([], [], [T])
    assert explain_member(member, SCORE, "BTC-USD", "5m", STEP) == "not UTF-8 at byte 2"


@pytest.mark.parametrize("score", [b"1725000000000", b"1.7250e+12", b"1725000000000.0", b"1.7250E12"])
def test_scores_in_every_spelling(check, score):
    assert columns(check([TEXT.encode(), score], "BTC-USD", "5m", STEP)) == ([T], [], [])


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
    assert columns(check([member, score], "BTC-USD", "5m", 1)) == ([], [], [floored])
    assert explain_member(member, score, "BTC-USD", "5m", 1) == (
        f"score {score.decode()} is not a whole number of milliseconds within int64"
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
    assert columns(check(reply, "BTC-USD", "5m", 1)) == ([1, 2, 2, 2, 3, 5, 5], [2, 5], [3, 4, 4, 5])


@pytest.mark.parametrize(
    ("score", "slot"),
    [(T, T), (T + 1, T), (T - 1, T - STEP), (T + STEP - 1, T), (-1, -STEP), ("inf", (2**63 - 1) // STEP * STEP)],
)
def test_a_member_belongs_to_the_slot_its_score_falls_in(check, score, slot):
    member, printed = flat(0).replace(b'"timestamp": 0', b'"timestamp": %s' % str(score).encode()), str(score).encode()
    timestamps, _, malformed = columns(check([member, printed], "BTC-USD", "5m", STEP))
    assert (timestamps, malformed) == (([T], []) if score == T else ([], [slot]))
    if score == T + 1:
        assert explain_member(member, printed, "BTC-USD", "5m", STEP) == f"score {score} is off the grid of {STEP} ms"


@pytest.mark.parametrize(
    ("member", "is_filler"),
    [
        (flat(T), True),
        (flat(T, -0.0), True),
        (flat(T, 1e-9), False),
        (flat(T, high=5.0000001), False),
        (flat(T, 2, isSynthetic=True), True),
        (flat(T, 2, isSynthetic=False), False),
        (flat(T, 2, isSynthetic="true"), False),
        (flat(T, 2, isSynthetic=1), False),
        (flat(T, 2, isSynthetic=True).replace(b"}", b', "isSynthetic": null}'), False),
        (flat(T, 2, isSynthetic=True, exchange="coinbase", exchangeTimestamp=T, sequenceNum=1), True),
    ],
)
def test_fillers_are_candles_without_trades(check, member, is_filler):
    for form in (member, member.replace(b" ", b"")):
        answer = check([form, SCORE], "BTC-USD", "5m", STEP)
        assert (answer.timestamps.tolist(), answer.fillers.tolist()) == ([T], [T] * is_filler)


def test_a_slot_with_another_candle_has_no_filler(check):
    reply = [
        *(flat(1), b"1", flat(1, 2), b"1"),
        *(flat(2, 2), b"2", flat(2), b"2"),
        *(flat(3), b"3", flat(3, 0, x=1), b"3"),
        *(flat(4), b"4", b"junk", b"4"),
        *(flat(5, 2), b"5"),
    ]
    answer = check(reply, "BTC-USD", "5m", 1)
    assert answer.fillers.tolist() == [3, 4]
    assert columns(answer) == ([1, 1, 2, 2, 3, 3, 4, 5], [1, 2, 3], [4])


def test_empty_reply(check):
    answer = check([], "BTC-USD", "5m", STEP)
    assert columns(answer) == ([], [], [])
    assert all(column.format == "q" and column.readonly for column in answer)


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        ([b"{}"], ValueError, "reply has 1 items; it must alternate members and scores (WITHSCORES)"),
        ([b"{}", b"x"], ValueError, "reply[1] is b'x': the score is not a number"),
        ([b"{}", b"nan"], ValueError, "reply[1] is b'nan': the score is not a number"),
        ([b"{}", b"1_0"], ValueError, "reply[1] is b'1_0': the score is not a number"),
        ([b"{}", b""], ValueError, "reply[1] is b'': the score is not a number"),
        ([b"{}", b"2", b"{}", b"1"], ValueError, "reply[3] is b'1': the score is below the one before it"),
        (["{}", b"1"], TypeError, "reply[0] is str; every item must be bytes"),
        ([b"{}", 1.0], TypeError, "reply[1] is float; every item must be bytes"),
    ],
)
def test_replies_that_are_none(check, reply, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check(reply, "BTC-USD", "5m", STEP)


@given(st.one_of(mutated(), st.binary(max_size=40)))
def test_both_agree_on_any_bytes(member):
    native = members.native_checker()([member, SCORE], "BTC-USD", "5m", STEP)
    assert columns(native) == columns(check_members_pure([member, SCORE], "BTC-USD", "5m", STEP))
