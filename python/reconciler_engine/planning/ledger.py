"""Knowledge about slots: findings, and the ledger that holds those of a series as intervals. Pure.

A slot that holds a candle needs no finding: the candle is its proof. A slot without candle and finding is unknown.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from itertools import pairwise
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple, Self

from reconciler_engine.market.interval import NOTHING, Interval, Intervals

_stop = attrgetter("stop")

SIGHTINGS_LIMIT = 65_535
"""Largest number of sightings that a finding counts."""


class State(StrEnum):
    """State of a slot. `PRESENT` means a verified candle. `PRESENT` and `UNKNOWN` are never states of a finding."""

    PRESENT = "present"
    UNVERIFIED = "unverified"
    MISSING = "missing"
    EMPTY = "empty"
    HALTED = "halted"
    UNLISTED = "unlisted"
    SUSPECT = "suspect"
    UNKNOWN = "unknown"


CONFIRMED = frozenset({State.EMPTY, State.HALTED, State.UNLISTED})
"""States of slots for which the exchange has no candle."""


class Reason(StrEnum):
    """Why a slot is in its state."""

    ABSENT_ONCE = "absent from an answer that proves nothing by itself"
    BETWEEN_CANDLES = "absent between closed candles of one answer"
    ABSENT_TWICE = "absent from two answers"
    MARKET_HALTED = "absent from every dense product"
    NOT_YET_LISTED = "before the product was listed"
    DELISTED = "after the product was delisted"
    VALUES_DIFFER = "the exchange has other values"
    SECOND_ANSWER = "the exchange has other values, if a second answer agrees"
    BY_HAND = "marked by hand"
    ROW_UNUSABLE = "the exchange's row is not a candle"
    WITH_REFERENCE = "absent while the reference was whole"
    AMONG_WITNESSES = "absent between rows, beside enough witnesses"
    ABSENT_THRICE = "absent from three answers over an hour, no reference to be had"
    AMONG_WITNESSES_ONCE = "absent between rows, beside thirty witnesses"
    HALTED_TWICE = "absent twice from three dense products"
    LACKED_ONCE = "an answer lacked it"
    NOT_AT_EXCHANGE = "not at the exchange"
    WITHDRAWN = "the exchange had it and has it no more"
    CONTESTED = "replaced three times within a day"
    BEFORE_FAILOVER = "proved before Redis went on with another history of writes"


OLD_PROOFS = frozenset({Reason.BETWEEN_CANDLES, Reason.ABSENT_TWICE, Reason.MARKET_HALTED, Reason.BEFORE_FAILOVER})
"""Proofs that no longer count, so that their slots are asked for again: earlier versions trusted a single answer, and
a Redis failover may have restored outdated proofs."""

OF_VALUES = frozenset({Reason.VALUES_DIFFER, Reason.SECOND_ANSWER})
"""Doubts about values. An answer that agrees with the candle ends them."""

WITHOUT_REFERENCE = OLD_PROOFS | {Reason.AMONG_WITNESSES, Reason.ABSENT_THRICE, Reason.HALTED_TWICE}
"""Proofs made without a reference. A late candle nearby voids them."""


class Finding(NamedTuple):
    """Knowledge about a slot that holds no candle, or a doubtful one.

    Attributes:
        state: State of the slot, never `PRESENT` or `UNKNOWN`.
        reason: Why it is in this state.
        first: Instant of the first answer that showed this state (ms UTC).
        last: Instant of the last such answer (ms UTC).
        sightings: Number of such answers, up to `SIGHTINGS_LIMIT`.
        next_check: Earliest time when a request for the slot is worth while (ms UTC); for a suspect slot this holds if
            candles are repaired. None for never again.
    """

    state: State
    reason: Reason
    first: int
    last: int
    sightings: int
    next_check: int | None

    @property
    def is_confirmed(self) -> bool:
        """Whether the exchange has no candle of the slot, by a proof that still counts."""
        return self.state in CONFIRMED and self.reason not in OLD_PROOFS

    def is_due(self, now: int) -> bool:
        """Whether an answer at `now` could prove anything new about the slot, if it holds no candle."""
        return (
            self.state is State.SUSPECT
            or self.reason in OLD_PROOFS
            or (self.next_check is not None and now >= self.next_check)
        )


Rule = Callable[[Finding | None], Finding | None]
"""Maps the finding of a slot to its new one; None is an unknown slot. It must be pure: its results are cached."""


class FindingInterval(NamedTuple):
    """Slots with open times `start <= t < stop` (ms UTC) that share a finding."""

    start: int
    stop: int
    finding: Finding


class Ledger:
    """The findings of one series, as ascending and disjoint intervals. Adjacent ones with equal findings are joined.

    Immutable. Borders are instants on the series' grid, but the ledger does not store the grid's step.
    """

    __slots__ = ("findings",)

    def __init__(self, findings: Iterable[FindingInterval] = ()) -> None:
        """Make a ledger.

        Raises:
            ValueError: An interval is empty, or overlaps or precedes the one before it.
        """
        given = tuple(findings)
        at: int | None = None
        for start, stop, _ in given:
            if start >= stop or (at is not None and start < at):
                raise ValueError(f"interval {start}..{stop} is empty or begins before the end of the one before, {at}")
            at = stop
        self.findings: tuple[FindingInterval, ...] = tuple(_joined(given))

    @classmethod
    def _of(cls, findings: Iterable[FindingInterval]) -> Self:
        """Make a ledger without checks: the findings are ordered and joined already."""
        ledger = cls()
        ledger.findings = tuple(findings)
        return ledger

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ledger) and self.findings == other.findings

    def __hash__(self) -> int:
        return hash(self.findings)

    def __repr__(self) -> str:
        return f"Ledger({list(self.findings)!r})"

    def at(self, open_time: int) -> Finding | None:
        """Return the finding on the slot with this open time, or None."""
        index = bisect_right(self.findings, open_time, key=_start) - 1
        if index < 0 or self.findings[index].stop <= open_time:
            return None
        return self.findings[index].finding

    def within(self, interval: Interval) -> Sequence[FindingInterval]:
        """Return the findings inside an interval, ascending and cut at its ends."""
        if not interval:
            return []
        touched = list(self.findings[self._touched(interval.start, interval.stop)])
        if touched and touched[-1].stop > interval.stop:
            touched[-1] = FindingInterval(touched[-1].start, interval.stop, touched[-1].finding)
        if touched and touched[0].start < interval.start:
            touched[0] = FindingInterval(interval.start, touched[0].stop, touched[0].finding)
        return touched

    def _touched(self, start: int, stop: int) -> slice:
        """Return the indices of the findings with a slot in `start <= t < stop`."""
        first = bisect_right(self.findings, start, key=_stop)
        return slice(first, max(first, bisect_left(self.findings, stop, key=_start)))

    def where(self, interval: Interval, wanted: Callable[[Finding], bool]) -> Intervals:
        """Return the slots inside `interval` whose finding satisfies `wanted`."""
        return Intervals.joined((start, stop) for start, stop, finding in self.within(interval) if wanted(finding))

    def in_state(self, interval: Interval, *states: State) -> Intervals:
        """Return the slots inside `interval` that are in one of these states."""
        return self.where(interval, lambda finding: finding.state in states)

    def confirmed(self, interval: Interval) -> Intervals:
        """Return the slots inside `interval` for which the exchange has no candle."""
        return self.where(interval, lambda finding: finding.is_confirmed)

    def resting(self, interval: Interval, now: int) -> Intervals:
        """Return the slots inside `interval` for which a request at `now` (ms UTC) could not prove anything new yet."""
        return self.where(interval, lambda finding: not finding.is_due(now))

    def waiting(self, interval: Interval, now: int) -> Intervals:
        """Return the unsettled slots inside `interval` that are not asked for again until after `now` (ms UTC)."""
        return self.where(interval, lambda one: not one.is_confirmed and (one.next_check or 0) > now)

    def next_check(self, slots: Intervals, now: int) -> int | None:
        """Return the earliest time after `now` when one of these unsettled slots is worth a request again (ms UTC).

        Rechecks of confirmed slots do not count. None if no slot waits.
        """
        findings = (finding for one in slots for _, _, finding in self.within(one))
        checks = (finding.next_check for finding in findings if not finding.is_confirmed)
        return min((at for at in checks if at is not None and at > now), default=None)

    def revise(self, where: Intervals, rule: Rule) -> Ledger:
        """Return the ledger after `rule` was applied to every slot in `where`.

        Args:
            where: The slots, on the grid.
            rule: Called once for each distinct finding.
        """
        if not where:
            return self
        answer = cache(rule)
        # Rebuild the touched findings and one neighbour on each side, since these may join changed ones.
        touched = self._touched(where.hull.start, where.hull.stop)
        touched = slice(max(touched.start - 1, 0), touched.stop + 1)

        def revised() -> Iterator[tuple[int, int, Finding | None]]:
            parts, borders = deque(self.findings[touched]), deque(where)
            ends = {at for part in parts for at in part[:2]} | {at for one in where for at in (one.start, one.stop)}
            for start, stop in pairwise(sorted(ends)):
                while parts and parts[0].stop <= start:
                    parts.popleft()
                while borders and borders[0].stop <= start:
                    borders.popleft()
                finding = parts[0].finding if parts and parts[0].start <= start else None
                yield start, stop, answer(finding) if borders and borders[0].start <= start else finding

        return self._of((*self.findings[: touched.start], *_joined(revised()), *self.findings[touched.stop :]))


def _start(part: FindingInterval) -> int:
    return part.start


def _joined(parts: Iterable[tuple[int, int, Finding | None]]) -> list[FindingInterval]:
    """Drop intervals without a finding, and join adjacent ones with equal findings."""
    found: list[FindingInterval] = []
    for start, stop, finding in parts:
        if finding is not None:
            last = found[-1] if found else None
            if last is not None and last.stop == start and (last.finding is finding or last.finding == finding):
                start = found.pop().start  # noqa: PLW2901  the interval begins with the one that it goes on from
            found.append(FindingInterval(start, stop, finding))
    return found


MOST_BROUGHT = 1_000
"""Limit on the entries of `Knowledge.brought`."""


class Brought(NamedTuple):
    """Slots whose row an answer was the first to have, and the instant of its request (ms UTC)."""

    slots: Interval
    at: int


class Repaired(NamedTuple):
    """A slot whose candle was replaced by the exchange's: how many times, and when first (ms UTC)."""

    slot: int
    times: int
    first: int


class Wait(NamedTuple):
    """A row that waits for a second answer: its slot, the instant of the first request (ms UTC), its values' digest."""

    slot: int
    first: int
    row: str


NONE_ACCEPTED: Mapping[int, str] = MappingProxyType({})


class Knowledge(NamedTuple):
    """The evidence about the slots of a series.

    Attributes:
        ledger: Findings about slots that hold no candle, or a doubtful one.
        exists: Slots for which an answer once had a row. They are never proved empty.
        brought: Slots whose row came first in an answer of the last hour.
        repaired: Slots whose candles were replaced within the last day.
        accepted: Digests of members that the operator accepted, by open time. Accepted members are never in doubt.
        waits: Rows that replace a candle once a second answer agrees.
    """

    ledger: Ledger = Ledger()
    exists: Intervals = NOTHING
    brought: tuple[Brought, ...] = ()
    repaired: tuple[Repaired, ...] = ()
    accepted: Mapping[int, str] = NONE_ACCEPTED
    waits: tuple[Wait, ...] = ()
