"""Volumes in another unit from one bar on.

Volumes of a living market change tenfold by themselves, so their size alone proves little. Their last decimal place
does: it moves with the unit and with nothing else. Without that, only a change of five hundred times counts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from statistics import median

from reconciler_engine.inspection.flaws import Flaws, Rule

_GROUP = 60
"""Bars that are compared with as many others; a jump is seen once so many bars follow it."""

_SAMPLE = 8
"""Bars of a group that show its last decimal place, but for one group in millions."""

_TOLERANCE = 0.7
_BEYOND_DOUBT = math.log10(500)
"""Decimal logarithms: distance of a change from the power that the decimals show; a change that needs no decimals."""

_Bar = tuple[int, float]


class VolumeUnit:
    """Compares each sixty bars with the sixty before the last ones: a jump lies between them."""

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
        # The bars between are of both units: they are not compared again.
        self._groups = deque([[], after])


def _middle(bars: Sequence[_Bar]) -> float:
    return median(volume for _, volume in bars)


def _last_place(bars: Sequence[_Bar]) -> int:
    """Return the power of ten of the last decimal place in use; fifteen digits are free of rounding."""
    places = (Decimal(f"{volume:.15g}").normalize().as_tuple().exponent for _, volume in bars)
    return min(place for place in places if isinstance(place, int))


def _border_by_places(bars: Sequence[_Bar], finest: int, *, rises: bool) -> int:
    """Return the open time from which on the last decimal place is another; one side alone uses the finest place."""
    fine = [index for index, bar in enumerate(bars) if _last_place([bar]) <= finest]
    if rises:
        return bars[fine[-1] + 1 if fine else 0][0]
    return bars[fine[0]][0]


def _border_by_size(bars: Sequence[_Bar], level: float, *, rises: bool) -> int:
    """Return the open time that best parts volumes on one side of a level from those on the other."""
    sides = [(volume > level) is rises for _, volume in bars]
    best = min(range(len(bars)), key=lambda index: sum(sides[:index]) + sides[index:].count(False))
    return bars[best][0]
