"""Find changes of the volume unit.

Volumes in a market often change tenfold, so their size proves little. But their last decimal place changes only with
the unit. If the last decimal place stays, only a change by a factor of at least 500 counts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from statistics import median

from reconciler_engine.inspection.flaws import Flaws, Rule

_GROUP = 60
"""Number of bars in a group. A jump is found once at most two groups of bars follow it."""

_SAMPLE = 8
"""Number of bars that suffice to find a group's last decimal place, except in one group in millions."""

_TOLERANCE = 0.7
"""Largest difference between the change of the median volume and that of the last decimal place (powers of ten)."""

_BEYOND_DOUBT = math.log10(500)
"""Smallest change of the median volume that counts by itself (powers of ten)."""

_Bar = tuple[int, float]


class VolumeUnit:
    """Compares each group of 60 bars with the group before the previous one, to find a jump between these two."""

    def __init__(self, flaws: Flaws) -> None:
        self._flaws = flaws
        self._group: list[_Bar] = []
        self._groups: deque[list[_Bar]] = deque()

    def take(self, at: int, volume: float) -> None:
        """Take the volume of the next bar, above 0."""
        self._group.append((at, volume))
        if len(self._group) == _GROUP:
            self._groups.append(self._group)
            self._group = []
            if len(self._groups) == 3:  # noqa: PLR2004 - before, between, after
                self._compare(*self._groups)
                self._groups.popleft()

    def finish(self) -> None:
        """End the series."""
        self._group = []
        self._groups.clear()

    def _compare(self, before: Sequence[_Bar], between: Sequence[_Bar], after: list[_Bar]) -> None:
        was, now = _middle(before), _middle(after)
        size = math.log10(now / was)
        power = _last_place(after[:_SAMPLE]) - _last_place(before[-_SAMPLE:])
        if power:
            power = _last_place(after) - _last_place(before)
        if power and abs(size - power) <= _TOLERANCE:
            at = _border_by_places([*between, *after], min(_last_place(before), _last_place(after)), rises=power > 0)
        elif abs(size) >= _BEYOND_DOUBT:
            power = round(size)
            at = _border_by_size([*between, *after], math.sqrt(was * now), rises=size > 0)
        else:
            return
        self._flaws.note(Rule.VOLUME_UNIT, at, at, 1, f"x{10.0**power:g}: median {was:g}, then {now:g}")
        # The bars between the two groups have both units, so they are not compared again.
        self._groups = deque([[], after])


def _middle(bars: Sequence[_Bar]) -> float:
    return median(volume for _, volume in bars)


def _last_place(bars: Sequence[_Bar]) -> int:
    """Return the exponent of ten of the last decimal place in use; 15 significant digits exclude rounding errors."""
    places = (Decimal(f"{volume:.15g}").normalize().as_tuple().exponent for _, volume in bars)
    return min(place for place in places if isinstance(place, int))


def _border_by_places(bars: Sequence[_Bar], finest: int, *, rises: bool) -> int:
    """Return the open time at which the last decimal place changes. Only one side has volumes with the finest place."""
    fine = [index for index, bar in enumerate(bars) if _last_place([bar]) <= finest]
    if rises:
        return bars[fine[-1] + 1 if fine else 0][0]
    return bars[fine[0]][0]


def _border_by_size(bars: Sequence[_Bar], level: float, *, rises: bool) -> int:
    """Return the open time that best separates volumes above a level from volumes below it."""
    sides = [(volume > level) is rises for _, volume in bars]
    best = min(range(len(bars)), key=lambda index: sum(sides[:index]) + sides[index:].count(False))
    return bars[best][0]
