"""Replies from their bytes: native and pure give the same answers, however the stream is cut, and the same refusals."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler_engine import _native
from reconciler_engine.detection.members import check_members_pure
from reconciler_engine.detection.replies import PureSpanReplies, SpanReplies, make_span_replies

MAKERS: list[Callable[[], SpanReplies]] = [_native.SpanReplies, PureSpanReplies]
STEP = 60_000


def member(open_time: int, symbol: str = "BTC-USD", volume: float = 1) -> bytes:
    values = dict.fromkeys(("open", "high", "low", "close"), 1)
    candle = {"timestamp": open_time, **values, "volume": volume, "symbol": symbol, "timeframe": "1m"}
    return json.dumps(candle, separators=(",", ":")).encode()


def array_of(items: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(items) + b"".join(b"$%d\r\n%s\r\n" % (len(item), item) for item in items)


def held(*open_times: int) -> bytes:
    return array_of([item for at in open_times for item in (member(at), str(at).encode())])


NONE: tuple[list[int], list[int]] = ([], [])
"""Digests' part of an answer where none was asked for."""


def answers(replies: SpanReplies) -> list[object]:
    return [
        answer if answer is None or isinstance(answer, str) else tuple(column.tolist() for column in answer)
        for answer in replies.take()
    ]


@pytest.fixture(params=MAKERS, ids=["native", "pure"])
def replies(request: pytest.FixtureRequest) -> SpanReplies:
    made: SpanReplies = request.param()
    return made


def test_the_native_one_is_in_use():
    assert make_span_replies is _native.SpanReplies


def test_tells_whole_spans_from_others(replies):
    spans: dict[str, tuple[bytes, object]] = {
        "whole": (held(STEP, 2 * STEP), None),
        "empty": (held(), ([], [], [], [], *NONE)),
        "gap": (held(STEP), ([STEP], [], [], [], *NONE)),
        "duplicate_beside_a_gap": (
            array_of([member(STEP), b"60000", member(STEP) + b" ", b"60000"]),
            ([STEP] * 2, [STEP], [], [], *NONE),
        ),
        "duplicate": (
            array_of([*[member(STEP), b"60000", member(STEP) + b" ", b"60000"], member(2 * STEP), b"120000"]),
            ([STEP, STEP, 2 * STEP], [STEP], [], [], *NONE),
        ),
        "off_the_grid": (held(STEP, 2 * STEP + 1), ([STEP], [], [2 * STEP], [], *NONE)),
        "beside_the_grid": (held(STEP, 2 * STEP, 3 * STEP), ([STEP, 2 * STEP, 3 * STEP], [], [], [], *NONE)),
        "foreign": (
            array_of([member(STEP), b"60000", member(2 * STEP, "ETH-USD"), b"120000"]),
            ([STEP], [], [2 * STEP], [], *NONE),
        ),
        "foreign_beside": (
            array_of([member(STEP), b"60000", member(2 * STEP), b"120000", b"{}", b"120001"]),
            ([STEP, 2 * STEP], [], [2 * STEP], [], *NONE),
        ),
        "filler": (
            array_of([member(STEP), b"60000", member(2 * STEP, volume=0), b"120000"]),
            ([STEP, 2 * STEP], [], [], [2 * STEP], *NONE),
        ),
        "refused": (b"-WRONGTYPE no sorted set\r\n", "WRONGTYPE no sorted set"),
    }
    for _ in spans:
        replies.ask("BTC-USD", "1m", STEP, STEP, 2)
    assert replies.feed(b"".join(reply for reply, _ in spans.values())) == len(spans)
    assert dict(zip(spans, answers(replies), strict=True)) == {name: answer for name, (_, answer) in spans.items()}
    assert answers(replies) == []


@given(
    st.lists(
        st.lists(st.integers(0, 4).map(lambda slot: slot * STEP // 2), max_size=4).map(sorted),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(1, 400), max_size=12),
)
def test_answers_alike_however_the_stream_is_cut(spans, cuts):
    stream = b"".join(held(*open_times) for open_times in spans)
    found = []
    for maker in MAKERS:
        made = maker()
        for _ in spans:
            made.ask("BTC-USD", "1m", 0, STEP, 2)
        rest, complete = stream, 0
        for cut in [*cuts, len(stream)]:
            complete = made.feed(rest[:cut])
            rest = rest[cut:]
        assert complete == len(spans)
        found.append(answers(made))
    assert found[0] == found[1]
    for open_times, answer in zip(spans, found[0], strict=True):
        items = [item for at in open_times for item in (member(at), str(at).encode())]
        columns = tuple(column.tolist() for column in check_members_pure(items, "BTC-USD", "1m", STEP))
        assert answer == (None if open_times == [0, STEP] else columns)


@pytest.mark.parametrize(
    ("stream", "refusal"),
    [
        (b":1\r\n", "no RESP2 array of members and scores"),
        (b"*-1\r\n", "no RESP2 array of members and scores"),
        (b"*+2\r\n", "no RESP2 array of members and scores"),
        (b"*2 \r\n", "no RESP2 array of members and scores"),
        (b"*\r\n", "no RESP2 array of members and scores"),
        (b"*2\rx", "no RESP2 array of members and scores"),
        (b"*1234567890\r\n", "no RESP2 array of members and scores"),
        (b"*2\r\n*0\r\n", "no RESP2 array of members and scores"),
        (b"*2\r\n$-1\r\n", "no RESP2 array of members and scores"),
        (b"*2\r\n$1\r\nabc\r\n", "no RESP2 array of members and scores"),
        (b"-" * 65_536, "no RESP2 array of members and scores"),
        (b"*1\r\n", "a member has no score"),
        (array_of([b"a", b"nan"]), "the score is not a number"),
        (array_of([b"a", b"2", b"b", b"1"]), "the score is below the one before it"),
        (held() + held(), "a reply that nobody asked for"),
    ],
)
def test_refuses_any_other_stream(replies, stream, refusal):
    replies.ask("BTC-USD", "1m", 0, STEP, 2)
    with pytest.raises(ValueError, match=refusal):
        replies.feed(stream)


@given(st.binary(max_size=60) | st.text("*$-0123456789\r\n{}", max_size=60).map(str.encode))
def test_refuses_or_waits_alike_for_arbitrary_bytes(stream):
    found: list[object] = []
    for maker in MAKERS:
        made = maker()
        made.ask("BTC-USD", "1m", 0, STEP, 2)
        try:
            found.append((made.feed(stream), answers(made)))
        except ValueError:
            found.append(None)
    assert found[0] == found[1]
