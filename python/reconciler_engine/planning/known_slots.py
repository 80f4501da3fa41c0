"""Knowledge of a series that passes of different reach have together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.observe.obstacles import Obstacle

# Windows of the widest pass that the findings of narrower passes may reach back.
_REACH = 2
_NO_OBSTACLES: Mapping[Obstacle, Intervals] = MappingProxyType({})


class Known(NamedTuple):
    """Knowledge of a series: the slots of `window`, of which `unresolved` are missing, and why slots are not ready.

    `base_ms` is the length of the widest pass in it: narrower passes extend its findings, the next one of its
    kind replaces it. `confirmed` are the slots that have no candle, `unverified` those of candles that are not
    verified, None where no pass has looked at that. From `whole_from` on the slots before the window are whole; None
    where nobody has looked further back.
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
        """Slots that hold a candle which is not in doubt, or have none; those before the window as far as known."""
        before = Interval(self.window.start if self.whole_from is None else self.whole_from, self.window.start)
        return Intervals([before, *(self.window - self.unresolved - self.suspect)])

    def whole_before(self, start: int) -> int | None:
        """Return from when on the slots before an instant are whole; None where that is not known of the last one."""
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

    Suspect and unverified candles that it did not look for (None) stay as they were known; a candle that closed since
    then is not verified.
    """
    # A window that begins after the end of the known one, or before it though narrower, stands alone.
    length = window.stop - window.start
    is_wide = known is None or length >= known.base_ms
    if known is None or not (is_wide or known.window.start <= window.start) or window.start > known.window.stop:
        whole_from = None if known is None else known.whole_before(window.start)
        return Known(window, unresolved, length, obstacles or {}, confirmed, unverified, whole_from)
    # Otherwise the new findings replace those of the window, and the ones before it stay.
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
