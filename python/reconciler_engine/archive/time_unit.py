"""Units of open times in candle files, and the detection of files that look like another unit or timeframe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import Self

from reconciler_engine.market.timeframe import Timeframe

# Seconds UTC: the time of the first bitcoin block, and the end of the year 2099.
_FIRST_S, _LAST_S = 1_230_940_800, 4_102_444_800
# Fewest candles from which the usual step between candles is determined.
_LEAST = 3
# With so many candles, even those of a thin market are on a grid twice as coarse only by a rare chance.
_NO_CHANCE = 20


class TimeUnit(Enum):
    """A unit of open times; the enum value is its short name."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Return the unit with a short name.

        Raises:
            ValueError: No unit has that name; the message lists the allowed names.
        """
        try:
            return cls(name)
        except ValueError:
            allowed = ", ".join(unit.value for unit in cls)
            raise ValueError(f"unit {name[:16]!r} is not supported; allowed: {allowed}") from None

    @property
    def per_second(self) -> int:
        """Number of units in a second."""
        return _PER_SECOND[self.value]

    def count(self, span_ms: int) -> int:
        """Return a span (ms) in this unit, rounded down."""
        return span_ms * self.per_second // 1_000

    def to_ms(self, count: int) -> int | None:
        """Convert a number of this unit to ms; None if the result is not a whole millisecond."""
        instant, rest = divmod(count * 1_000, self.per_second)
        return None if rest else instant


def unit_of(count: int) -> TimeUnit | None:
    """Return the unit in which a number is an instant between 2009 and 2099, or None; at most one unit fits."""
    return next((unit for unit in TimeUnit if _FIRST_S <= count // unit.per_second < _LAST_S), None)


_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def find_misleading(counts: Sequence[int], timeframe: Timeframe, unit: TimeUnit) -> str | None:
    """Return why a file's times look like another unit or timeframe, or None; `counts` are in `unit`, in any order."""
    other = mistaken_unit(counts, timeframe, unit)
    if other is not None:
        looks = f"its open times look like {other.name.lower()}, not {unit.name.lower()}"
        return f"{looks}; allowed: --time-unit {other.value} of gaps and load"
    starts = {start for count in counts if (start := unit.to_ms(count)) is not None}
    return mistaken_step(sorted(starts), timeframe)


def mistaken_unit(counts: Sequence[int], timeframe: Timeframe, unit: TimeUnit) -> TimeUnit | None:
    """Return the unit that a file seems to use instead of `unit`, or None if `unit` seems right.

    `unit` is right if over half of the times are on the timeframe's grid and the last one lies before 2100. Else the
    file seems to use the unit in which the most times, and at least half of them, are on the grid and between 2009 and
    2099.
    """
    step = unit.count(timeframe.step_ms)
    fitting = sum(count % step == 0 for count in counts)
    if 2 * fitting > len(counts) and max(counts) < _LAST_S * unit.per_second:
        return None
    others = {}
    for other in (other for other in TimeUnit if other is not unit):
        first, last, step = _FIRST_S * other.per_second, _LAST_S * other.per_second, other.count(timeframe.step_ms)
        others[other] = sum(first <= count < last and count % step == 0 for count in counts)
    best = max(others, key=lambda other: others[other])
    return best if others[best] and 2 * others[best] >= len(counts) else None


def mistaken_step(starts: Sequence[int], timeframe: Timeframe) -> str | None:
    """Return why a file's open times (ms, ascending) contradict its timeframe, or None if they do not.

    A few bars off the grid and a few gaps are allowed. A file contradicts its timeframe if most bars are off the grid;
    if half of the steps between bars are those of another timeframe and all bars are on its grid; or if the file has
    20 bars or more and 95 % of them are on a coarser grid.
    """
    if len(starts) < _LEAST:
        return None
    off_grid = _count_off_grid(starts, timeframe.step_ms)
    usual, times = Counter(after - before for before, after in pairwise(starts)).most_common(1)[0]
    other = next((one for one in Timeframe if one.step_ms == usual), None)
    if 2 * off_grid > len(starts):
        looks = "" if other in (None, timeframe) else f"; its usual step is {other}: name the timeframe it has"
        return f"{off_grid} of {len(starts)} bars do not open on the grid of {timeframe}{looks}"
    if len(starts) >= _NO_CHANCE and (coarser := _coarsest_grid(starts)).step_ms > timeframe.step_ms:
        other = coarser
    elif other is None or 2 * times < len(starts) - 1 or _count_off_grid(starts, usual):
        return None
    if other is timeframe:
        return None
    remedy = f"name the timeframe it has (--timeframe {other}, or in the file's name)"
    return f"its usual step is {other}, not {timeframe}: {remedy}"


def _coarsest_grid(starts: Sequence[int]) -> Timeframe:
    """Return the longest timeframe with at least 95 % of the bars on its grid; `M1` if there is none."""
    return max(
        (one for one in Timeframe if 20 * _count_off_grid(starts, one.step_ms) <= len(starts)),
        key=lambda one: one.step_ms,
        default=Timeframe.M1,
    )


def _count_off_grid(starts: Sequence[int], step_ms: int) -> int:
    return sum(start % step_ms != 0 for start in starts)
