"""Merge the findings of passes with different windows about a series. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.observe.obstacles import Obstacle

# How far back findings of narrower passes are kept, in lengths of the widest pass's window.
_REACH = 2
_NO_OBSTACLES: Mapping[Obstacle, Intervals] = MappingProxyType({})


class Known(NamedTuple):
    """Findings of all passes about a series.

    Attributes:
        window: Slots that the passes examined.
        unresolved: Missing slots.
        base_ms: Length of the widest window. Passes with narrower windows extend its findings; a pass with a window of
            at least this length replaces them.
        obstacles: Slots that are not ready, by their reason.
        confirmed: Slots confirmed to have no candle.
        unverified: Slots of unverified candles; None if no pass examined verification.
        whole_from: All slots from this instant to the start of the window are whole; None if no earlier slot is.
    """

    window: Interval
    unresolved: Intervals
    base_ms: int
    obstacles: Mapping[Obstacle, Intervals] = _NO_OBSTACLES
    confirmed: Intervals = NOTHING
    unverified: Intervals | None = None
    whole_from: int | None = None

    @property
    def suspect(self) -> Intervals:
        """Slots whose candle is in doubt."""
        return Intervals(
            one for obstacle, where in self.obstacles.items() if obstacle.state == "suspect" for one in where
        )

    @property
    def whole(self) -> Intervals:
        """Slots with a candle that is not suspect, or confirmed to have none; includes known ones before the window."""
        before = Interval(self.window.start if self.whole_from is None else self.whole_from, self.window.start)
        return Intervals([before, *(self.window - self.unresolved - self.suspect)])

    def whole_before(self, start: int) -> int | None:
        """Return the start of the whole slots that end at `start`, or None if the last slot before it is not whole."""
        return next((one.start for one in self.whole if one.start < start <= one.stop), None)


def extend(
    known: Known | None,
    window: Interval,
    unresolved: Intervals,
    obstacles: Mapping[Obstacle, Intervals] | None = _NO_OBSTACLES,
    *,
    confirmed: Intervals = NOTHING,
    unverified: Intervals | None = None,
) -> Known:
    """Return the knowledge of the series after a pass examined `window`.

    If the pass did not look for obstacles or unverified candles (None), the known suspect and unverified ones stay, and
    every candle that closed since then counts as unverified.
    """
    # The new window replaces the known one if it begins after the end of the known one, or if it is narrower and begins
    # before the start of the known one.
    length = window.stop - window.start
    is_wide = known is None or length >= known.base_ms
    if known is None or not (is_wide or known.window.start <= window.start) or window.start > known.window.stop:
        whole_from = None if known is None else known.whole_before(window.start)
        return Known(window, unresolved, length, obstacles or {}, confirmed, unverified, whole_from)
    # Otherwise new findings replace known ones inside the new window, and those before it stay.
    base_ms = length if is_wide else known.base_ms
    start = window.start if is_wide else max(known.window.start, window.stop - _REACH * base_ms)
    before, whole = Interval(start, window.start), Interval(start, window.stop)
    joined = {}
    for obstacle in Obstacle:
        was, now = known.obstacles.get(obstacle, NOTHING), (obstacles or {}).get(obstacle, NOTHING)
        stays = whole if obstacles is None and obstacle.state == "suspect" else before
        if where := (was & stays) | now:
            joined[obstacle] = where
    if known.unverified is not None:
        if unverified is None:
            closed_since = Interval(min(known.window.stop, whole.stop), whole.stop)
            unverified = (known.unverified & whole) | (closed_since - unresolved - confirmed)
        else:
            unverified |= known.unverified & before
    return Known(
        whole,
        (known.unresolved & before) | unresolved,
        base_ms,
        joined,
        (known.confirmed & before) | confirmed,
        unverified,
        known.whole_before(start),
    )
