"""Members held against the digests of verified ones: native and pure give the same answers, and the same refusals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.verified_bars import block_fields_of
from tests.parity.test_detection_replies import MAKERS, STEP, answers, array_of, member

from reconciler_engine.detection.noted import read_noted
from reconciler_engine.detection.replies import SpanReplies
from reconciler_engine.market.interval import Interval
from reconciler_engine.store.verified_fields import block_fields, decode_blocks

SLOTS = 3
SPAN = Interval(59 * STEP, (59 + SLOTS) * STEP)
"""The last slot of a block and the first ones of the next."""
ONE, TWO, THREE = SPAN.grid(STEP)
FLAT = member(TWO, volume=0)
LATER = member(TWO, volume=2)
REFUSED = b"-WRONGTYPE no hash\r\n"

Held = list[tuple[int, bytes]]


def whole(*others: tuple[int, bytes]) -> Held:
    """One candle in each slot, but for the slots of the others."""
    taken = {at for at, _ in others}
    return sorted([*((at, member(at)) for at in SPAN.grid(STEP) if at not in taken), *others], key=lambda one: one[0])


def bodies_of(noted: Mapping[int, bytes], accepted: Mapping[int, bytes] | None = None) -> list[bytes]:
    """The fields of a span, as the server holds them."""
    written = block_fields_of(noted, STEP)
    marks = {at: hashlib.sha1(text).hexdigest()[:16] for at, text in (accepted or {}).items()}
    body = json.dumps(marks, separators=(",", ":")).encode() if marks else b""
    return [*(written.get(name, b"") for name in block_fields(SPAN, STEP)), body]


def hash_reply(bodies: list[bytes]) -> bytes:
    """The answer to HMGET; an empty body stands for a field that is not there."""
    items = b"".join(b"$%d\r\n%s\r\n" % (len(body), body) if body else b"$-1\r\n" for body in bodies)
    return b"*%d\r\n" % len(bodies) + items


def set_reply(held: Held) -> bytes:
    return array_of([item for at, text in held for item in (text, b"%d" % at)])


def ask(replies: SpanReplies) -> None:
    replies.ask("BTC-USD", "1m", ONE, STEP, SLOTS, len(block_fields(SPAN, STEP)))


@pytest.fixture(params=MAKERS, ids=["native", "pure"])
def judged(request: pytest.FixtureRequest) -> Callable[..., object]:
    """The answer to the digests and the members of one span."""

    def judge(bodies: list[bytes], held: Held) -> object:
        replies = request.param()
        ask(replies)
        assert replies.feed(hash_reply(bodies)) == 0
        assert replies.feed(set_reply(held)) == 1
        return answers(replies)[0]

    return judge


ALL = dict(whole())


@pytest.mark.parametrize(
    ("noted", "accepted", "held", "answer"),
    [
        pytest.param(ALL, {}, whole(), None, id="all_verified"),
        pytest.param({}, {}, whole(), ([ONE, TWO, THREE], []), id="none_verified"),
        pytest.param({ONE: ALL[ONE]}, {}, whole(), ([TWO, THREE], []), id="some_verified"),
        pytest.param(ALL, {}, whole((TWO, LATER)), ([TWO], [TWO]), id="one_changed"),
        pytest.param({ONE: ALL[TWO]}, {}, whole(), ([ONE, TWO, THREE], [ONE]), id="noted_for_another_slot"),
        pytest.param(ALL, {}, whole((TWO, b"{}")), ([ONE, THREE], [], [TWO], [], [], []), id="no_candle_left"),
        pytest.param(ALL, {}, [(ONE, ALL[ONE])], ([ONE], [], [], [], [], []), id="others_lost"),
        pytest.param(
            ALL, {}, whole((TWO, ALL[TWO]), (TWO, LATER)),
            ([ONE, TWO, TWO, THREE], [TWO], [], [], [TWO], [TWO]), id="another_beside_it",
        ),
        pytest.param(
            ALL, {}, whole((TWO, LATER), (TWO, ALL[TWO])),
            ([ONE, TWO, TWO, THREE], [TWO], [], [], [TWO], [TWO]), id="another_before_it",
        ),
        pytest.param(
            ALL, {}, [*whole(), (THREE + 1, b"{}")],
            ([ONE, TWO, THREE], [], [THREE], [], [THREE], [THREE]), id="no_candle_in_its_slot",
        ),
        pytest.param(
            ALL, {}, [(ONE, ALL[ONE]), (TWO, b"{}"), (TWO, ALL[TWO]), (THREE, ALL[THREE])],
            ([ONE, TWO, THREE], [], [TWO], [], [TWO], [TWO]), id="no_candle_before_it",
        ),
        pytest.param(
            {THREE: ALL[THREE]}, {}, [*whole()[:2], (THREE + 1, ALL[THREE])],
            ([ONE, TWO], [], [THREE], [], [ONE, TWO], []), id="off_the_grid",
        ),
        pytest.param(
            ALL, {}, whole((TWO, FLAT)), ([ONE, TWO, THREE], [], [], [TWO], [], []), id="filler_in_its_place",
        ),
        pytest.param(
            ALL, {}, whole((TWO, FLAT), (TWO, ALL[TWO])),
            ([ONE, TWO, TWO, THREE], [TWO], [], [], [TWO], [TWO]), id="filler_beside_it",
        ),
        pytest.param(
            {}, {}, whole((TWO, FLAT), (TWO, FLAT + b" ")),
            ([ONE, TWO, TWO, THREE], [TWO], [], [TWO], [ONE, THREE], []), id="fillers_alone",
        ),
        pytest.param({**ALL, TWO: FLAT}, {}, whole((TWO, FLAT)), None, id="flat_at_the_exchange_too"),
        pytest.param({}, ALL, whole(), None, id="all_accepted"),
        pytest.param({ONE: ALL[ONE], THREE: LATER}, {TWO: LATER, THREE: ALL[THREE]}, whole((TWO, LATER)), None,
                     id="accepted_and_verified"),
        pytest.param({}, {**ALL, TWO: LATER}, whole(), ([TWO], []), id="accepted_once"),
        pytest.param(
            {}, {TWO: FLAT}, whole((TWO, FLAT)),
            ([ONE, TWO, THREE], [], [], [TWO], [ONE, THREE], []), id="accepted_filler",
        ),
        pytest.param({}, {TWO: b"{}"}, whole((TWO, b"{}")), ([ONE, THREE], [], [TWO], [], [ONE, THREE], []),
                     id="accepted_no_candle"),
        pytest.param(ALL, {}, [*whole(), (SPAN.stop, member(SPAN.stop))],
                     ([ONE, TWO, THREE, SPAN.stop], [], [], [], [SPAN.stop], []), id="beside_the_grid"),
    ],
)  # fmt: skip
def test_says_which_candles_are_verified(judged, noted, accepted, held, answer):
    assert judged(bodies_of(noted, accepted), held) == answer


def test_a_field_that_is_otherwise_than_it_is_written_says_nothing(judged):
    good = bodies_of(ALL)
    assert [len(body) for body in good] == [961, 961, 0]
    for bad in (good[0][:-1], good[0] + b"x", b"\2" + good[0][1:], b"x"):
        assert judged([bad, *good[1:]], whole()) == ([ONE], [])
    mark = bodies_of({}, {ONE: ALL[ONE]})[2]
    assert judged([b"", good[1], mark], whole()) is None
    for bad in (
        mark + b" ",
        mark[:-1],
        b"{}",
        b"[]",
        mark.upper(),
        mark.replace(b'":', b'": '),
        mark.replace(b'"', b""),
    ):
        assert judged([b"", good[1], bad], whole()) == ([ONE], [])
    assert judged([b"", good[1], b"{%b,%b}" % (mark[1:-1], mark[1:-1])], whole()) is None


def test_tells_of_a_field_that_says_nothing_what_the_store_does():
    bodies = bodies_of({ONE: ALL[ONE], THREE: ALL[THREE]})
    names = block_fields(SPAN, STEP)
    for first in (bodies[0], bodies[0][:-1], b"\2" + bodies[0][1:], b""):
        fields = dict(zip(names, [first, bodies[1]], strict=True))
        decoded = {at: one.digest for at, one in decode_blocks(fields, STEP).items()}
        assert decoded == read_noted([*fields.values(), b""], SPAN.start, STEP).digests
        assert len(decoded) == 1 + (first == bodies[0])


@pytest.mark.parametrize("maker", MAKERS, ids=["native", "pure"])
def test_takes_the_refusal_of_either_command(maker):
    replies = maker()
    for _ in range(4):
        ask(replies)
    hashed, held = hash_reply(bodies_of(ALL)), set_reply(whole())
    other = b"-WRONGTYPE no set\r\n"
    assert replies.feed(REFUSED + held + hashed + other + REFUSED + other + hashed + held) == 4
    assert answers(replies) == ["WRONGTYPE no hash", "WRONGTYPE no set", "WRONGTYPE no hash", None]


@pytest.mark.parametrize("maker", MAKERS, ids=["native", "pure"])
@pytest.mark.parametrize(
    "stream",
    [
        b"*2\r\n$-1\r\n$-1\r\n",
        b"*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n",
        b"*0\r\n",
        b"*3\r\n$-2\r\n",
        b"*3\r\n:1\r\n",
        b"$-1\r\n",
        b"*3\r\n$-1\r\n$-1\r\n$-1\r\n*2\r\n$-1\r\n",
    ],
)
def test_refuses_any_other_answer_to_the_digests(maker, stream):
    replies = maker()
    ask(replies)
    with pytest.raises(ValueError, match="no RESP2 array of members and scores"):
        replies.feed(stream)


TEXTS = [member(at, volume=volume) for at in (ONE, TWO, THREE) for volume in (0, 1, 2)] + [b"{}"]
MEMBERS = st.tuples(st.sampled_from([ONE, TWO, TWO + 1, THREE, SPAN.stop]), st.sampled_from(TEXTS))
MARKS = st.dictionaries(st.sampled_from([ONE, TWO, THREE]), st.sampled_from(TEXTS))


def unverified_in(held: Held, noted: Mapping[int, bytes], accepted: Mapping[int, bytes]) -> list[int]:
    """The slots with a candle that is not verified, by the plainest means."""
    found = []
    for slot in (ONE, TWO, THREE, SPAN.stop):
        bars = {member(slot, volume=1), member(slot, volume=2)}
        texts = [text for at, text in held if at // STEP * STEP == slot]
        has_bar = any(at == slot and (text in bars or text == noted.get(slot)) for at, text in held)
        (alone,) = texts if len(texts) == 1 else (None,)
        is_verified = alone is not None and alone in (noted.get(slot), accepted.get(slot))
        if has_bar and not is_verified:
            found.append(slot)
    return found


@given(st.lists(MEMBERS, max_size=6), MARKS, MARKS, st.lists(st.integers(1, 700), max_size=12))
def test_answers_alike_however_the_stream_is_cut(held, noted, accepted, cuts):
    held = sorted(held, key=lambda one: one[0])
    stream = (hash_reply(bodies_of(noted, accepted)) + set_reply(held)) * 2
    found = []
    for maker in MAKERS:
        replies = maker()
        ask(replies)
        ask(replies)
        rest, complete = stream, 0
        for cut in [*cuts, len(stream)]:
            complete = replies.feed(rest[:cut])
            rest = rest[cut:]
        assert complete == 2
        found.append(answers(replies))
    assert found[0] == found[1]
    first, second = found[0]
    assert first == second
    columns = ([], []) if first is None else first
    assert isinstance(columns, tuple)
    assert columns[-2] == unverified_in(held, noted, accepted)
    assert columns[-1] == [slot for slot in columns[-2] if slot in noted]
