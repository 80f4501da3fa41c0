"""The ready gate about worlds of bars and evidence: each of its ways says what its rules in Python say."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

import pytest
import redis as redis_py
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.verified_bars import block_fields_of
from tests.parity.examples import GOOD, T
from tests.parity.gate import Cache, Question, ask_gate, judge

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import OLD_PROOFS, Finding, FindingInterval, Knowledge, Ledger, Reason, State
from reconciler_engine.store.evidence_fields import encode_fields
from reconciler_engine.store.findings import DAY_MS, encode_day, span_of
from reconciler_engine.store.ready_question import MAX_BARS
from reconciler_engine.store.scope import Layout, Scope

MIDNIGHT = T // DAY_MS * DAY_MS
STATES = [state for state in State if state not in ("present", "unverified", "unknown")]
FINDINGS = [Finding(state, Reason.BY_HAND, 0, T, 1, None) for state in STATES]
EMPTY = next(finding for finding in FINDINGS if finding.state is State.EMPTY)
NOTES = FINDINGS + [
    Finding(state, reason, 0, T, 1, None)
    for state in STATES
    for reason in (Reason.ROW_UNUSABLE, Reason.CONTESTED, *sorted(OLD_PROOFS))
]
TALES = (
    "absent", "present", "double", "malformed", "malformed beside", "off the grid", "moved", "filler", "filler beside",
)  # fmt: skip


@pytest.fixture(params=Layout)
def scope(request):
    return Scope(1, 1, "", request.param)


@pytest.fixture
def server(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@dataclass
class World:
    """Contents of the cache about the slots before `stop`.

    Attributes:
        tales: Members of each slot, oldest first.
        notes: Finding on each slot.
        digests: Whether each slot's candle is noted as verified; None for another's digest.
        exists: Whether each slot is known to exist.
        harm: Days whose findings have become other bytes, by their number from the first day on.
    """

    timeframe: Timeframe
    stop: int
    tales: list[str]
    notes: list[Finding | None]
    digests: list[bool | None]
    exists: list[bool]
    harm: dict[int, bytes] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        return Series("BTC-USD", self.timeframe)

    @property
    def grid(self) -> range:
        step = self.timeframe.step_ms
        return range(self.stop - len(self.tales) * step, self.stop, step)

    def candle(self, open_time: int, **changes: object) -> bytes:
        return json.dumps(GOOD | {"timestamp": open_time, "timeframe": self.timeframe.value} | changes).encode()

    def members(self) -> dict[bytes, int]:
        held: dict[bytes, int] = {}
        for at, tale in zip(self.grid, self.tales, strict=True):
            good, bad, filler = self.candle(at), self.candle(at, close=None), self.candle(at, isSynthetic=True)
            held |= {
                "absent": {},
                "present": {good: at},
                "double": {good: at, self.candle(at, volume=9): at},
                "malformed": {bad: at},
                "malformed beside": {bad: at, good: at},
                "off the grid": {self.candle(at + 1): at + 1},
                "moved": {good: at + 1},
                "filler": {filler: at},
                "filler beside": {filler: at, good: at},
            }[tale]
        return held

    def days(self) -> dict[int, bytes]:
        step = self.timeframe.step_ms
        noted = zip(self.grid, self.notes, strict=True)
        ledger = Ledger(FindingInterval(at, at + step, note) for at, note in noted if note is not None)
        days = range(self.grid[0] // DAY_MS, self.grid[-1] // DAY_MS + 1)
        bodies = {day: encode_day(ledger.within(span_of(day)), day, step) for day in days}
        return {day: self.harm.get(day - days[0], body) for day, body in bodies.items() if body or self.harm}

    def cache(self) -> Cache:
        step = self.timeframe.step_ms
        known = Intervals.of_slots([at for at, is_so in zip(self.grid, self.exists, strict=True) if is_so], step)
        names = [f"e{day}" for day in range(self.grid[0] // DAY_MS, self.grid[-1] // DAY_MS + 1)]
        noted = {
            at: self.candle(at) if is_so else b"another"
            for at, is_so in zip(self.grid, self.digests, strict=True)
            if is_so is not False
        }
        exists = encode_fields(Knowledge(exists=known), names, step)
        days = {str(day): body for day, body in self.days().items()}
        return Cache(
            self.members(), days | {one: body for one, body in exists.items() if body} | block_fields_of(noted, step)
        )


@st.composite
def worlds(draw, *, harm):
    timeframe = draw(st.sampled_from(Timeframe))
    slots = draw(st.integers(1, 12))

    def each(one):
        return draw(st.lists(one, min_size=slots, max_size=slots))

    # Midnight lies among the bars, or at one of their ends.
    stop = MIDNIGHT + draw(st.integers(0, slots)) * timeframe.step_ms
    # Few holes, or no world is ever ready.
    tales = each(st.sampled_from(("present", "present", *TALES)))
    notes = each(st.none() | st.sampled_from(NOTES))
    digests = each(st.sampled_from((True, True, False, None)))
    if draw(st.booleans()):
        tales = [
            "absent" if tale in ("malformed", "off the grid", "moved", "malformed beside") else tale for tale in tales
        ]
        notes = [EMPTY if tale in ("absent", "filler") else None for tale in tales]
        digests = [is_so or tale == "present" for tale, is_so in zip(tales, digests, strict=True)]
    world = World(timeframe, stop, tales, notes, digests, each(st.booleans()))
    if harm:
        for number, body in enumerate(world.days().values()):
            world.harm[number] = draw(harmed(body))
    return world


@st.composite
def questions(draw, world):
    """About the world's slots, or about as many members as it has, or some more or less."""
    slots = len(world.tales)
    members = draw(st.booleans())
    bars = draw(st.integers(1, slots + 1)) if members else slots
    unverified = draw(st.none() | st.integers(0, slots))
    return Question(bars, world.stop, unverified, draw(st.just(0) | st.integers(0, slots)), members)


@st.composite
def cases(draw, *, harm):
    world = draw(worlds(harm=harm))
    return world, draw(questions(world))


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


@pytest.mark.parametrize("harm", [False, True], ids=["whole", "broken"])
def test_each_way_to_ask_says_what_the_rules_say(server, scope, harm):
    seen = set()

    @given(case=cases(harm=harm))
    def check(case):
        world, question = case
        cache = world.cache()
        cache.lay_out(server, scope, world.series)
        told = ask_gate(server, scope, world.series, question)
        assert told == judge(cache, world.series, question)
        seen.add((question.members, told.is_ready))

    check()
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def ready(server, scope, world, question):
    cache = world.cache()
    cache.lay_out(server, scope, world.series)
    told = ask_gate(server, scope, world.series, question)
    assert told == judge(cache, world.series, question)
    return told


def plain_world(timeframe, stop, tales, notes=None, harm=None):
    slots = len(tales)
    return World(timeframe, stop, tales, notes or [None] * slots, [False] * slots, [False] * slots, harm or {})


def findings_of_a_day(*stretches, version=1, states=(1,), reasons=(7,)):
    """A day's findings as bytes; a stretch is first slot, number of slots, finding. The first finding is empty."""
    head = struct.pack("<BH", version, len(states))
    found = [struct.pack("<BBHqqq", *codes, 1, 0, 0, -1) for codes in zip(states, reasons, strict=True)]
    return head + b"".join(found) + b"".join(struct.pack("<HHH", *stretch) for stretch in stretches)


@pytest.mark.parametrize(
    ("body", "is_ready"),
    [
        (findings_of_a_day((0, 24, 0)), True),
        (findings_of_a_day((0, 12, 0), (12, 12, 1), states=(1, 3), reasons=(10, 4)), True),
        (findings_of_a_day((0, 12, 0), (12, 12, 1), states=(1, 3), reasons=(1, 4)), False),
        (findings_of_a_day((0, 24, 0), reasons=(2,)), False),
        (findings_of_a_day((0, 24, 0), states=(2,), reasons=(3,)), False),
        (findings_of_a_day((0, 24, 0), states=(2,), reasons=(18,)), True),
        (findings_of_a_day((0, 24, 0), states=(2,), reasons=(19,)), False),
        (findings_of_a_day((0, 23, 0)), True),
        (findings_of_a_day((1, 23, 0)), False),
        (findings_of_a_day((0, 12, 0), (12, 12, 1), states=(1, 0), reasons=(1, 0)), False),
        (b"", False),
        (findings_of_a_day((0, 24, 0))[:2], False),
        (findings_of_a_day((0, 24, 0), version=2), False),
        (findings_of_a_day((0, 24, 0), states=(1, 5), reasons=(7, 7)), False),
        (findings_of_a_day((0, 24, 0), states=(1, 4), reasons=(8, 20)), False),
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
def test_findings_are_whole_or_none(server, scope, body, is_ready):
    """A day of hours, of which the last one alone has a candle."""
    world = plain_world(Timeframe.H1, MIDNIGHT, [*["absent"] * 23, "present"], harm={0: body})
    assert ready(server, scope, world, Question(24, MIDNIGHT)).is_ready is is_ready


@pytest.mark.parametrize("tale", ["present", "absent"])
def test_evidence_of_another_type_is_none(server, scope, tale):
    world = plain_world(Timeframe.H1, MIDNIGHT, [tale] * 3)
    Cache(world.members()).lay_out(server, scope, world.series)
    server.set(scope.evidence_key(world.series), "x")
    for question, is_ready in (
        (Question(3, MIDNIGHT), tale == "present"),
        (Question(3, MIDNIGHT, unverified=2), False),
        # A candle that may be known to exist is not excused for its youth.
        (Question(3, MIDNIGHT, young=3), tale == "present"),
    ):
        assert ask_gate(server, scope, world.series, question).is_ready is is_ready


@pytest.mark.parametrize("body", [b"", b"\2", b"\1\0", b"\0\0\0\0\0"])
def test_young_slots_wait_where_it_cannot_be_read_what_exists(server, scope, body):
    world = plain_world(Timeframe.H1, MIDNIGHT, ["present", "absent"])
    question = Question(2, MIDNIGHT, young=1)
    assert ready(server, scope, world, question).is_ready
    server.hset(scope.evidence_key(world.series), f"e{MIDNIGHT // DAY_MS - 1}", body)
    assert not ask_gate(server, scope, world.series, question).is_ready


@pytest.mark.parametrize(
    ("reason", "exists", "is_ready"),
    [(Reason.ABSENT_ONCE, False, True), (Reason.ROW_UNUSABLE, False, False), (Reason.ABSENT_ONCE, True, False)],
)
def test_a_young_slot_waits_unless_the_exchange_has_shown_it(server, scope, reason, exists, is_ready):
    world = plain_world(Timeframe.M1, MIDNIGHT, ["present", "absent"])
    world.notes[1], world.exists[1] = Finding(State.MISSING, reason, 0, 0, 1, None), exists
    assert ready(server, scope, world, Question(2, MIDNIGHT, young=1)).is_ready is is_ready
    assert not ready(server, scope, world, Question(2, MIDNIGHT)).is_ready


def test_as_many_bars_as_may_be_asked_for(server, scope):
    """Of days, so that each has findings of its own: more than Lua hands to one call."""
    world = plain_world(Timeframe.D1, MIDNIGHT, ["absent"] * MAX_BARS, [EMPTY] * MAX_BARS)
    world.cache().lay_out(server, scope, world.series)
    question = Question(MAX_BARS, MIDNIGHT)
    assert ask_gate(server, scope, world.series, question).confirmed == MAX_BARS
    server.hdel(scope.evidence_key(world.series), str(world.grid[0] // DAY_MS))
    assert ask_gate(server, scope, world.series, question).missing == (1, world.grid[0])


def test_members_are_looked_for_in_ten_times_as_many_slots(server, scope):
    world = plain_world(Timeframe.M1, MIDNIGHT, ["present", *["absent"] * 18, "present"], [None, *[EMPTY] * 18, None])
    two = Question(2, MIDNIGHT, members=True)
    told = ready(server, scope, world, two)
    assert (told.is_ready, told.window.start, told.confirmed) == (True, world.grid[0], 18)
    world = plain_world(Timeframe.M1, MIDNIGHT, ["present", *["absent"] * 19, "present"], [None, *[EMPTY] * 19, None])
    told = ready(server, scope, world, two)
    assert (told.is_ready, told.lacking, told.reason, told.window.start) == (False, 1, "fewer members", world.grid[-1])
    assert told.ready_until == told.window.start


def test_a_cache_without_members_has_fewer_than_asked_for(server, scope):
    told = ready(server, scope, plain_world(Timeframe.M1, MIDNIGHT, ["absent"]), Question(5, MIDNIGHT, members=True))
    assert (told.is_ready, told.lacking, told.window) == (False, 5, Interval(MIDNIGHT, MIDNIGHT))
