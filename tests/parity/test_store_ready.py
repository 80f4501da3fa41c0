"""The ready gate's script by itself, and `is_ready`: one answer, for whatever lies in the cache."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass, field

import pytest
import redis as redis_py
from hypothesis import given
from hypothesis import strategies as st
from tests.parity.examples import ACCEPTED, GOOD, REFUSED, SCORE, T, mutated

from reconciler_engine import is_ready
from reconciler_engine.detection.members import check_members
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.accepted import digest_of
from reconciler_engine.planning.ledger import OLD_PROOFS, Finding, FindingInterval, Ledger, Reason, State
from reconciler_engine.planning.window import DEFAULT_GRACE_MS
from reconciler_engine.store import findings
from reconciler_engine.store.findings import DAY_MS, encode_day, span_of
from reconciler_engine.store.ready_question import MAX_BARS
from reconciler_engine.store.ready_script import READY_TEXT
from reconciler_engine.store.scope import Layout, Scope

SCOPE = Scope(1, 1, "")
SERIES = Series("BTC-USD", Timeframe.M5)
STEP = SERIES.timeframe.step_ms
MIDNIGHT = T // DAY_MS * DAY_MS


@pytest.fixture(params=Layout, autouse=True)
def layout(request, monkeypatch):
    """Give all names of this file the forms of each layout."""
    scope = Scope(1, 1, "", request.param)
    names = {"SCOPE": scope}
    for name, value in names.items():
        monkeypatch.setitem(globals(), name, value)
    return request.param


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


def grace_for(stop, step):
    """The grace with which the bar before `stop` is the newest closed one, for half a bar from now on."""
    return time.time_ns() // 1_000_000 - stop - step // 2


def ask_both(server, series, bars, stop):
    """What the script says, what `is_ready` says, about the bars before `stop`."""
    while True:
        grace = grace_for(stop, series.timeframe.step_ms)
        read = ("EVAL", READY_TEXT, 1, SCOPE.candle_key(series), bars, grace, "read")
        before = server.execute_command(*read)[0]
        alone = server.execute_command("EVAL", READY_TEXT, 1, SCOPE.candle_key(series), bars, grace)
        python = is_ready(server, series.symbol, series.timeframe, bars, grace_ms=grace, layout=SCOPE.layout)
        if before == server.execute_command(*read)[0] == stop:
            assert alone in (0, 1)
            return bool(alone), python


def both_say(server, member):
    """What both say of one bar with this member."""
    server.delete(SCOPE.candle_key(SERIES))
    server.zadd(SCOPE.candle_key(SERIES), {member: T})
    alone, python = ask_both(server, SERIES, 1, T + SERIES.timeframe.step_ms)
    assert alone is python
    return python


def spaced(member):
    return member


def usual(member):
    """As the feeder writes: no spaces."""
    return member.replace(b" ", b"")


@pytest.mark.parametrize("form", [spaced, usual])
@pytest.mark.parametrize("name", ACCEPTED)
def test_candles(server, name, form):
    assert both_say(server, form(ACCEPTED[name].encode())) is True


@pytest.mark.parametrize("form", [spaced, usual])
@pytest.mark.parametrize("name", REFUSED)
def test_no_candles(server, name, form):
    assert both_say(server, form(REFUSED[name][0].encode())) is False


@pytest.mark.parametrize(
    ("letters", "is_text"),
    [
        (b"\xc3\xa9", True),
        (b"\xe2\x82\xac", True),
        (b"\xf0\x9f\x98\x80", True),
        (b"\x7f", True),
        (b"\xff", False),
        (b"\xc3", False),
        (b"\xc0\x80", False),
        (b"\xe0\x80\x80", False),
        (b"\xed\xa0\x80", False),
        (b"\xf0\x80\x80\x80", False),
        (b"\xf4\x90\x80\x80", False),
        (b"\xc3\xc3\xa9\xa9", False),
    ],
)
def test_bytes_are_text_or_no_candle(server, letters, is_text):
    member = json.dumps(GOOD | {"x": "?"}).encode().replace(b"?", letters)
    assert both_say(server, member) is is_text


@pytest.mark.parametrize(
    "members", [mutated(), mutated().map(usual), st.binary(min_size=1, max_size=40)], ids=["spaced", "usual", "any"]
)
def test_both_know_a_candle_in_any_bytes(server, members):
    seen = set()

    @given(member=members)
    def check(member):
        is_candle = len(check_members([member, SCORE], "BTC-USD", "5m", SERIES.timeframe.step_ms).timestamps) == 1
        assert both_say(server, member) is is_candle
        seen.add(is_candle)

    check()
    assert False in seen


@pytest.mark.parametrize(
    ("digest", "is_right"),
    [(digest_of, True), (lambda member: digest_of(member + b" "), False), (lambda _: 5, False), (None, False)],
)
def test_both_take_an_accepted_candle_as_right_and_no_other(server, digest, is_right):
    key = SCOPE.evidence_key(SERIES)
    member = ACCEPTED[next(iter(ACCEPTED))].encode()
    day, doubt = T // DAY_MS, Finding(State.SUSPECT, Reason.CONTESTED, 0, 0, 1, None)
    server.hset(key, str(day), encode_day([FindingInterval(T, T + SERIES.timeframe.step_ms, doubt)], day, STEP))
    assert both_say(server, member) is False
    server.hset(key, "accepted", "{broken" if digest is None else json.dumps({str(T): digest(member)}))
    assert both_say(server, member) is is_right


STATES = [state for state in State if state not in ("present", "unknown")]
FINDINGS = [Finding(state, Reason.BY_HAND, 0, T, 1, None) for state in STATES]
NOTES = FINDINGS + [Finding(state, reason, 0, T, 1, None) for state in STATES for reason in sorted(OLD_PROOFS)]
TALES = ("absent", "present", "double", "malformed", "malformed beside", "off the grid")


@dataclass
class World:
    """What lies in the cache about the bars before `stop`."""

    timeframe: Timeframe
    bars: int
    stop: int
    tales: list[str]
    notes: list[Finding | None]
    harm: dict[int, bytes] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        return Series("BTC-USD", self.timeframe)

    @property
    def grid(self) -> range:
        step = self.timeframe.step_ms
        return range(self.stop - self.bars * step, self.stop, step)

    def members(self) -> dict[bytes, int]:
        held: dict[bytes, int] = {}
        for open_time, tale in zip(self.grid, self.tales, strict=True):
            candle = GOOD | {"timestamp": open_time, "timeframe": self.timeframe.value}
            good, bad = json.dumps(candle).encode(), json.dumps(candle | {"close": None}).encode()
            off = open_time + 1
            held |= {
                "absent": {},
                "present": {good: open_time},
                "double": {good: open_time, json.dumps(candle | {"volume": 9}).encode(): open_time},
                "malformed": {bad: open_time},
                "malformed beside": {bad: open_time, good: open_time},
                "off the grid": {json.dumps(candle | {"timestamp": off}).encode(): off},
            }[tale]
        return held

    def days(self) -> dict[int, bytes]:
        step = self.timeframe.step_ms
        noted = zip(self.grid, self.notes, strict=True)
        ledger = Ledger(FindingInterval(at, at + step, note) for at, note in noted if note is not None)
        days = range(self.grid[0] // DAY_MS, self.grid[-1] // DAY_MS + 1)
        bodies = {day: encode_day(ledger.within(span_of(day)), day, step) for day in days}
        return {day: self.harm.get(day - days[0], body) for day, body in bodies.items() if body or self.harm}


@st.composite
def worlds(draw, *, harm):
    timeframe = draw(st.sampled_from(Timeframe))
    bars = draw(st.integers(1, 12))
    # Midnight lies among the bars, or at one of their ends.
    stop = MIDNIGHT + draw(st.integers(0, bars)) * timeframe.step_ms
    # Few holes, or no world is ever ready.
    tales = draw(st.lists(st.sampled_from(("present", "present", *TALES)), min_size=bars, max_size=bars))
    notes = draw(st.lists(st.none() | st.sampled_from(NOTES), min_size=bars, max_size=bars))
    if draw(st.booleans()):
        settled = next(finding for finding in FINDINGS if finding.state is State.EMPTY)
        notes = [settled if tale in ("absent", "malformed", "off the grid") else None for tale in tales]
    world = World(timeframe, bars, stop, tales, notes)
    if harm:
        for number, body in enumerate(world.days().values()):
            world.harm[number] = draw(harmed(body))
    return world


@st.composite
def harmed(draw, body):
    """Findings with a byte or two changed, cut, prolonged, or none at all."""
    text = bytearray(body)
    for _ in range(draw(st.integers(0, 2))):
        if text:
            # The head and the tail, where what decides about the whole is.
            at = draw(st.integers(0, len(text) - 1) | st.integers(0, min(4, len(text) - 1)))
            text[at] = draw(st.integers(0, 8) | st.integers(0, 255))
    cut = draw(st.integers(0, 8))
    return bytes(text[: len(text) - cut] if draw(st.booleans()) else text + text[-6:][:cut])


def lay_out(server, world):
    server.delete(SCOPE.candle_key(world.series), SCOPE.evidence_key(world.series))
    if members := world.members():
        server.zadd(SCOPE.candle_key(world.series), members)
    if days := world.days():
        server.hset(SCOPE.evidence_key(world.series), mapping=days)


def by_definition(world):
    """Slot by slot, from the tales themselves."""
    confirmed = {State.EMPTY, State.HALTED, State.UNLISTED}
    for tale, note in zip(world.tales, world.notes, strict=True):
        state = note and note.state
        if tale in ("present", "double", "malformed beside"):
            if state is State.SUSPECT:
                return False
        elif state not in confirmed or note.reason in OLD_PROOFS:
            return False
    return True


def test_one_answer_and_the_right_one(server):
    seen = set()

    @given(world=worlds(harm=False))
    def check(world):
        lay_out(server, world)
        right = by_definition(world)
        assert ask_both(server, world.series, world.bars, world.stop) == (right, right)
        seen.add(right)

    check()
    assert seen == {True, False}


def test_one_answer_over_broken_evidence(server):
    seen = set()

    @given(world=worlds(harm=True))
    def check(world):
        lay_out(server, world)
        alone, python = ask_both(server, world.series, world.bars, world.stop)
        assert alone is python
        seen.add(alone)

    check()
    assert seen == {True, False}


def findings_of_a_day(*stretches, version=1, states=(1,), reasons=(7,)):
    """A day's findings as bytes; a stretch is first slot, number of slots, finding. The first finding is empty."""
    head = struct.pack("<BH", version, len(states))
    found = [struct.pack("<BBHqqq", *codes, 1, 0, 0, -1) for codes in zip(states, reasons, strict=True)]
    return head + b"".join(found) + b"".join(struct.pack("<HHH", *stretch) for stretch in stretches)


@pytest.mark.parametrize(
    ("body", "ready"),
    [
        (findings_of_a_day((0, 24, 0)), True),
        (findings_of_a_day((0, 12, 0), (12, 12, 1), states=(1, 3), reasons=(10, 4)), True),
        (findings_of_a_day((0, 12, 0), (12, 12, 1), states=(1, 3), reasons=(1, 4)), False),
        (findings_of_a_day((0, 24, 0), reasons=(2,)), False),
        (findings_of_a_day((0, 24, 0), states=(2,), reasons=(3,)), False),
        (findings_of_a_day((0, 24, 0), states=(2,), reasons=(18,)), True),
        (findings_of_a_day((0, 23, 0)), True),
        (findings_of_a_day((1, 23, 0)), False),
        (findings_of_a_day((0, 12, 0), (12, 12, 1), states=(1, 0), reasons=(1, 0)), False),
        (b"", False),
        (findings_of_a_day((0, 24, 0))[:2], False),
        (findings_of_a_day((0, 24, 0), version=2), False),
        (findings_of_a_day((0, 24, 0), states=(1, 5), reasons=(7, 7)), False),
        (findings_of_a_day((0, 24, 0), states=(1, 4), reasons=(8, 19)), False),
        (findings_of_a_day((0, 23, 0), (22, 2, 0)), False),
        (findings_of_a_day((0, 24, 0), (24, 0, 0)), False),
        (findings_of_a_day((0, 23, 0), (23, 1, 1)), False),
        (findings_of_a_day((0, 24, 0), (24, 1, 0)), False),
        (findings_of_a_day((0, 25, 0)), False),
        (findings_of_a_day((0, 24, 0)) + b"\0", False),
        (findings_of_a_day((0, 24, 0)) + b"\0\0\0", False),
        (findings_of_a_day((0, 24, 0))[:-1], False),
        (findings_of_a_day((0, 24, 0))[:20], False),
    ],
)
def test_findings_are_whole_or_none(server, body, ready):
    """A day of hours, of which the last one alone has a candle."""
    world = World(Timeframe.H1, 24, MIDNIGHT, [*["absent"] * 23, "present"], [None] * 24, {0: body})
    lay_out(server, world)
    assert ask_both(server, world.series, world.bars, world.stop) == (ready, ready)


@pytest.mark.parametrize("tale", ["present", "absent"])
def test_evidence_of_another_type_is_none(server, tale):
    world = World(Timeframe.H1, 3, MIDNIGHT + 3_600_000, [tale] * 3, [None] * 3)
    lay_out(server, world)
    server.set(SCOPE.evidence_key(world.series), "x")
    ready = tale == "present"
    assert ask_both(server, world.series, world.bars, world.stop) == (ready, ready)


def test_as_many_bars_as_may_be_asked_for(server):
    """Of days, so that each has findings of its own: more than Lua hands to one call."""
    empty = next(finding for finding in FINDINGS if finding.state is State.EMPTY)
    world = World(Timeframe.D1, MAX_BARS, MIDNIGHT, ["absent"] * MAX_BARS, [empty] * MAX_BARS)
    lay_out(server, world)
    assert ask_both(server, world.series, world.bars, world.stop) == (True, True)
    server.hdel(SCOPE.evidence_key(world.series), str(world.grid[0] // DAY_MS))
    assert ask_both(server, world.series, world.bars, world.stop) == (False, False)


def test_the_script_has_the_library_s_limits():
    lines = READY_TEXT.splitlines()
    assert {f"local GRACE = {DEFAULT_GRACE_MS}", f"local MOST = {MAX_BARS}"} <= set(lines)
    codes = findings._VERSION, len(findings._STATES), len(findings._REASONS)
    assert "local VERSION, STATES, REASONS = {}, {}, {}".format(*codes) in lines
    old = ", ".join(f"[{code}] = true" for code in sorted(findings._REASON_CODES[reason] for reason in OLD_PROOFS))
    assert f"local OLD_PROOFS = {{ {old} }}" in lines


@pytest.mark.parametrize(
    ("key", "arguments", "fault"),
    [
        ("candles:1:1:BTC-USD:3m", [1], "is no series'; allowed: candles:"),
        ("candle:1:1:BTC-USD:1m", [1], "key candle:1:1:BTC-USD:1m is no series'"),
        ("candles:1:1:BTC-USD:1m", [], "bars nil is not allowed; allowed: 1 to 10000"),
        ("candles:1:1:BTC-USD:1m", [0], "bars 0 is not allowed"),
        ("candles:1:1:BTC-USD:1m", [10_001], "bars 10001 is not allowed"),
        ("candles:1:1:BTC-USD:1m", ["1.5"], "bars 1.5 is not allowed"),
        ("candles:1:1:BTC-USD:1m", [1, -1], "grace_ms -1 is not allowed; allowed: a whole number of ms from 0"),
        ("candles:1:1:BTC-USD:1m", [1, "soon"], "grace_ms soon is not allowed"),
    ],
)
def test_the_script_names_what_is_wrong_with_a_question(server, key, arguments, fault):
    with pytest.raises(redis_py.ResponseError, match=fault):
        server.execute_command("EVAL", READY_TEXT, 1, key, *arguments)


def test_a_declared_evidence_key_changes_nothing(server):
    world = World(Timeframe.H1, 1, MIDNIGHT, ["absent"], [FINDINGS[1]])
    lay_out(server, world)
    grace = grace_for(MIDNIGHT, 3_600_000)
    key, evidence = SCOPE.candle_key(world.series), SCOPE.evidence_key(world.series)
    assert server.execute_command("EVAL", READY_TEXT, 2, key, evidence, 1, grace) == 1


def test_the_script_writes_nothing(server):
    server.zadd(SCOPE.candle_key(SERIES), {"x": T})
    assert server.execute_command("EVAL_RO", READY_TEXT, 1, SCOPE.candle_key(SERIES), 1) == 0
