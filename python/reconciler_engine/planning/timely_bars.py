"""Judge once for each closed bar whether it was complete and verified in time. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.objective import COMPLETE_MS, BarCounts


class FoundBars(NamedTuple):
    """The closed bars of a series as a pass found them, before it repaired anything.

    Attributes:
        series: The series.
        slots: Slots that the pass examined.
        missing: Slots without a candle that were not confirmed to have none; all slots if the series was unreadable.
        waiting: Missing slots that waited for a second sighting, or that this pass itself proved empty.
        unverified: Slots of unverified candles.
    """

    series: Series
    slots: Interval
    missing: Intervals = NOTHING
    waiting: Intervals = NOTHING
    unverified: Intervals = NOTHING


class Reached(NamedTuple):
    """Latest closes (ms UTC) up to which the bars of a timeframe are judged, for each of the two criteria."""

    complete: int
    verified: int


class Judged(NamedTuple):
    """Counts of bars by timeframe, and the instants up to which bars were judged."""

    counts: dict[str, BarCounts]
    reached: dict[str, Reached]


class TimelyBars:
    """Judges bars by the findings of passes over all series.

    A bar is judged twice: in the first pass after its deadline for being complete, and in the first pass after its
    deadline for being verified. A bar that failed the first time is remembered, so that it counts as one failure; if
    the engine restarts in between, it may count twice. The first pass over a new series is not judged.
    """

    def __init__(self) -> None:
        self._failed: dict[Series, Intervals] = {}
        self._known: frozenset[Series] | None = None
        self._look: tuple[Sequence[FoundBars], int] | None = None

    def look(self, found: Sequence[FoundBars], now: int) -> None:
        """Store the findings of a pass at `now` (ms UTC), to be judged next."""
        self._look = (found, now)

    def judge(self, reached: Mapping[str, Reached], max_unverified_ms: int) -> Judged | None:
        """Judge the bars of the last stored findings; None if these were judged already.

        Args:
            reached: Instants up to which bars are judged already, by timeframe. Other timeframes start with this pass.
            max_unverified_ms: How long after its close a bar may be unverified.
        """
        if self._look is None:
            return None
        (found, now), self._look = self._look, None
        frames = {one.series.timeframe.value for one in found}
        since = {frame: reached.get(frame, Reached(now, now)) for frame in frames}
        until = {
            frame: Reached(max(at.complete, now - COMPLETE_MS), max(at.verified, now - max_unverified_ms))
            for frame, at in since.items()
        }
        counts: dict[str, list[BarCounts]] = {frame: [] for frame in frames}
        for one in found:
            if self._known is None or one.series in self._known:
                frame = one.series.timeframe.value
                counts[frame].append(self._judge(one, since[frame], until[frame]))
        self._known = frozenset(one.series for one in found)
        self._failed = {one: slots for one, slots in self._failed.items() if one in self._known}
        return Judged({frame: BarCounts.total(each) for frame, each in counts.items()}, until)

    def _judge(self, one: FoundBars, since: Reached, until: Reached) -> BarCounts:
        step = one.series.timeframe.step_ms
        complete = _closed(since.complete, until.complete, step) & one.slots
        bars = complete.size(step)
        before = self._failed.pop(one.series, NOTHING)
        if not (before or one.missing or one.unverified):
            return BarCounts(bars)
        missing = one.missing & complete
        waiting = missing & one.waiting
        apart = before | missing
        unverified = (one.unverified & _closed(since.verified, until.verified, step)) - apart
        if left := apart - Interval(0, max(until.verified - step + 1, 0)):
            self._failed[one.series] = left
        count = waiting.size(step)
        return BarCounts(bars - count, missing.size(step) - count, unverified.size(step), count)


def _closed(since: int, until: int, step: int) -> Interval:
    """Return the slots whose bars closed in `since < t <= until` (ms UTC)."""
    return Interval(max(since - step + 1, 0), max(until - step + 1, 0)).slots(step)
