"""Truth beside the cache: which bars exist, which members are right, and whether a yes of the gate was one."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.window import DEFAULT_GRACE_MS, closed_before
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.store.verified_fields import block_fields, decode_blocks, digest_of

MAX_UNVERIFIED_MS: Final = 1_800_000
BARS: Final = 200
"""Newest bars that are looked at: as many as indicators read."""

_SCAN_MS: Final = 360_000
"""A scan and its pages are over so long after the one before."""

_VOLUME_TOLERANCE: Final = 1e-8
_FIELDS: Final = ("open", "high", "low", "close", "volume")

Verdict = Literal["right", "wrong", "filler", "no candle"]


class Look(NamedTuple):
    """A series at an instant, beside the truth.

    Attributes:
        series: The series.
        now: The instant (ms UTC).
        missing: Open times of slots without a candle that the exchange has one for, ascending.
        wrong: Open times of candles that differ from the exchange's, ascending.
        verified: Number of members whose digest holds.
        falsely_verified: Open times of the wrong ones among them.
        changed: Open times of members that were others when they were verified.
    """

    series: Series
    now: int
    missing: list[int]
    wrong: list[int]
    verified: int
    falsely_verified: list[int]
    changed: list[int]

    @property
    def overdue_before(self) -> int:
        """Open time before which bars may not be unverified any more (ms UTC)."""
        return self.now - MAX_UNVERIFIED_MS - self.series.timeframe.step_ms

    @property
    def overdue(self) -> list[int]:
        """The wrong ones that may not be unverified any more."""
        return [at for at in self.wrong if at < self.overdue_before]


class Word(NamedTuple):
    """The gate's word about a series.

    Attributes:
        is_yes: Whether it says yes.
        detail: Its list, leniently asked.
    """

    is_yes: bool
    detail: Sequence[Any]

    def in_the_way(self, look: Look) -> str:
        """Return what is in the way of a yes, leniently asked; empty where nothing is."""
        if self.detail[0]:
            return ""
        minutes = (look.now - self.detail[3] - look.series.timeframe.step_ms) // 60_000
        return f"{self.detail[4].decode()}, closed {minutes} minutes ago"

    def is_passing(self, look: Look, rewritten: int) -> bool:
        """Whether nothing is in the way but what the feeder has just done.

        That are bars of the last half hour that wait for a second answer, and so many older ones that were `rewritten`
        since the last scan looked at the digests.
        """
        missing, _, suspect, oldest, strange, _, unverified, _ = self.detail[8:16]
        is_young = not suspect or oldest >= look.overdue_before
        return not missing + strange and is_young and unverified <= rewritten


class Oracle:
    """Knows every bar of a market, once it has closed."""

    def __init__(self, market: Market) -> None:
        """Make an oracle of a market."""
        self._market = market
        self._truth: dict[Series, dict[int, tuple[float, ...]]] = {}
        self._starts: dict[Series, list[int]] = {}
        self._known_to: dict[Series, int] = {}
        self._verdicts: dict[Series, dict[bytes, tuple[int, Verdict, bytes]]] = defaultdict(dict)
        self._looks: dict[Series, tuple[Any, Look]] = {}

    def window(self, series: Series, now: int) -> Interval:
        """Return the newest closed slots at an instant (ms UTC), as the gate sees them."""
        stop = closed_before(now, series.timeframe, DEFAULT_GRACE_MS)
        return Interval(stop - BARS * series.timeframe.step_ms, stop)

    def look(self, series: Series, now: int, members: Sequence[Any], bodies: Sequence[bytes | None]) -> Look:
        """Hold the members of the newest slots, each followed by its score, and their digests to the truth."""
        window = self.window(series, now)
        seen, there = self._looks.get(series), (window, members, bodies)
        look = seen[1]._replace(now=now) if seen and seen[0] == there else self._look_anew(series, now, *there)
        self._looks[series] = there, look
        return look

    def _look_anew(
        self, series: Series, now: int, window: Interval, members: Sequence[Any], bodies: Sequence[bytes | None]
    ) -> Look:
        step, verdicts = series.timeframe.step_ms, self._verdicts[series]
        self._learn(series, window)
        starts = self._starts[series]
        expected = starts[bisect_left(starts, window.start) : bisect_left(starts, window.stop)]
        named = zip(block_fields(window, step), bodies, strict=True)
        noted = decode_blocks({name: body for name, body in named if body}, step)
        verified, held = 0, set()
        wrong: list[int] = []
        falsely_verified: list[int] = []
        changed: list[int] = []
        for member, score in zip(members[::2], members[1::2], strict=True):
            if member not in verdicts:
                verdicts[member] = (*self._judge(series, member), digest_of(member))
            at, verdict, digest = verdicts[member]
            if at != int(score):
                continue
            if verdict in {"right", "wrong"}:
                held.add(at)
            is_verified = at in noted and noted[at].digest == digest
            verified += is_verified
            if at in noted and not is_verified:
                changed.append(at)
            if verdict == "wrong":
                wrong.append(at)
                falsely_verified += [at] * is_verified
        return Look(series, now, [at for at in expected if at not in held], wrong, verified, falsely_verified, changed)

    def _learn(self, series: Series, window: Interval) -> None:
        known = self._known_to.get(series, window.start)
        if known < window.stop:
            bars = self._market.bars(series.symbol, series.timeframe, Interval(known, window.stop), window.stop)
            there = self._truth.setdefault(series, {})
            there.update((bar.start, tuple(map(float, bar[1:]))) for bar in bars)
            self._starts.setdefault(series, []).extend(bar.start for bar in bars)
            self._known_to[series] = window.stop

    def _judge(self, series: Series, member: bytes) -> tuple[int, Verdict]:
        try:
            candle = json.loads(member)
            at, values = candle["timestamp"], tuple(float(candle[name]) for name in _FIELDS)
        except (ValueError, KeyError, TypeError):
            return -1, "no candle"
        if candle.get("isSynthetic") or (values[-1] == 0 and len(set(values[:-1])) == 1):
            return at, "filler"
        there = self._truth[series].get(at)
        if there is None or there[:-1] != values[:-1]:
            return at, "wrong"
        near = abs(there[-1] - values[-1]) <= _VOLUME_TOLERANCE * max(there[-1], values[-1])
        return at, "right" if near else "wrong"


@dataclass
class Figures:
    """Sums over all looks of a world.

    Attributes:
        looks: Looks at a series.
        ready: Times the gate said yes.
        over_missing: Times it did over a missing bar.
        over_wrong: Times it did over a wrong bar that closed more than 30 minutes ago.
        over_young: Times it did over a younger wrong bar.
        verified: Candles whose digest holds.
        falsely_verified: Those of them that are wrong.
        overdue: Wrong bars that closed more than 30 minutes ago, by timeframe.
        well: Looks in times in which the exchange had been well for so long.
        well_passing: Those of them in which the gate said no, leniently asked, because bars of the last half hour
            waited for a second answer, or older ones had just been rewritten.
        well_unready: Those of them in which it said no for another reason.
        well_wrong: Those of them with a wrong bar that closed more than 30 minutes ago.
        told: The first few faults, in words.
    """

    looks: int = 0
    ready: int = 0
    over_missing: int = 0
    over_wrong: int = 0
    over_young: int = 0
    verified: int = 0
    falsely_verified: int = 0
    overdue: Counter[str] = field(default_factory=Counter)
    well: int = 0
    well_passing: Counter[str] = field(default_factory=Counter)
    well_unready: Counter[str] = field(default_factory=Counter)
    well_wrong: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    _changed: dict[Series, dict[int, int]] = field(default_factory=dict)

    def add(self, look: Look, word: Word, *, is_well: bool) -> None:
        """Add a look at a series, and the gate's word at that instant."""
        overdue, name = look.overdue, str(look.series)
        rewritten = self._count_rewritten(look)
        self.looks += 1
        self.ready += word.is_yes
        self.overdue[look.series.timeframe.value] += len(overdue)
        self.verified += look.verified
        self.falsely_verified += self._tell(look, "verified and wrong", look.falsely_verified)
        if word.is_yes:
            self.over_missing += bool(self._tell(look, "ready over missing", look.missing))
            self.over_wrong += bool(self._tell(look, "ready over wrong", overdue))
            self.over_young += bool(look.wrong and not overdue)
        if is_well:
            self.well += 1
            self.well_wrong[name] += bool(self._tell(look, "well and wrong", overdue))
            in_the_way = word.in_the_way(look)
            if in_the_way and word.is_passing(look, rewritten):
                self.well_passing[name] += 1
            elif in_the_way:
                self._tell(look, f"well and not ready ({in_the_way})", look.missing or [look.now])
                self.well_unready[name] += 1

    def _count_rewritten(self, look: Look) -> int:
        """Return how many bars were rewritten since the last scan, at most, that had been verified."""
        before = self._changed.get(look.series, {})
        since = self._changed[look.series] = {at: before.get(at, look.now) for at in look.changed}
        return sum(look.now - first < _SCAN_MS for first in since.values())

    def _tell(self, look: Look, fault: str, slots: Sequence[int]) -> int:
        if slots and sum(fault in one for one in self.told) < 8:
            minutes = ", ".join(str((look.now - at - look.series.timeframe.step_ms) // 60_000) for at in slots[:4])
            self.told.append(f"{look.now} {look.series}: {fault}: {len(slots)} bars, closed {minutes} minutes ago")
        return len(slots)

    def __str__(self) -> str:
        return (
            f"{self.looks} looks, {self.ready} ready: {self.over_missing} over a missing bar, {self.over_wrong} over a "
            f"wrong bar of more than 30 minutes, {self.over_young} over a younger one; {self.verified} digests hold, "
            f"{self.falsely_verified} of wrong bars; {self.well} looks in well times: "
            f"{self.well_passing.total()} not ready for a moment, {self.well_unready.total()} not ready "
            f"for longer, {self.well_wrong.total()} wrong"
        )
