"""Sums: a coarser bar follows from the finer bars of its span, where the exchange has shown all of these. Pure.

Section 9 of the rules of truth. A bar that is equal to its sum needs no request. Nothing is ever built of finer bars.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from math import fsum, isclose
from typing import Final

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.ledger import Finding, Reason

ONE_PAGE_IN: Final = 50
"""One page in so many is asked for although each of its bars is equal to its sum."""

_DUST = 1e-12
"""Volumes are decimals, and floats here: sums that are equal as decimals differ by less than 1e-15 as floats, those of
a feeder that adds up trades by some 1e-14. Bars that differ in their last printed digit differ by more, up to a volume
of 10,000. `is_equal` would let errors of 1e-8 grow from timeframe to timeframe."""

Values = Sequence[float]
"""Open, high, low, close, volume."""


def nearest_finer(timeframe: Timeframe, kept: Iterable[Timeframe]) -> Timeframe | None:
    """Return the longest of the kept timeframes of which some bars make one of this; None where there is none."""
    step = timeframe.step_ms
    divides = (one for one in kept if one.step_ms < step and step % one.step_ms == 0)
    return max(divides, key=lambda one: one.step_ms, default=None)


def is_settled_empty(finding: Finding) -> bool:
    """Whether a slot was proved to have no candle, and looked at for the last time. A mark by hand proves nothing."""
    return finding.is_confirmed and finding.next_check is None and finding.reason is not Reason.BY_HAND


def covered(slots: Intervals, finer: Intervals, step: int) -> Intervals:
    """Return the slots of a grid of `step` ms each of which lies in these finer slots as a whole."""
    whole = (one for one in slots.slots(step) if finer & Interval(one, one + step) == (Interval(one, one + step),))
    return Intervals.of_slots(whole, step)


def sums_of(slots: Intervals, bars: Mapping[int, Values], empty: Intervals, step: int, finer: int) -> dict[int, Values]:
    """Return the bars that follow from finer ones, by open time.

    A slot is left out if a finer one in it has no bar and is not known to have none, or if all of them have none.

    Args:
        slots: Slots of the coarser grid.
        bars: Finer bars that are verified, by open time. Those that stand for no trades are left out of the sums.
        empty: Finer slots that have no bar.
        step: The coarser grid's step (ms).
        finer: The finer grid's step (ms).
    """
    found = {}
    for slot in slots.slots(step):
        span = range(slot, slot + step, finer)
        if all(at in bars or empty.holds(at) for at in span):
            traded = [bars[at] for at in span if at in bars and not _is_filler(bars[at])]
            if traded:
                found[slot] = _sum_of(traded)
    return found


def is_sum(values: Values, expected: Values) -> bool:
    """Whether a bar is equal to its sum: in prices, and in volume as decimals are."""
    return tuple(values[:-1]) == tuple(expected[:-1]) and isclose(values[-1], expected[-1], rel_tol=_DUST)


def is_audited(series: Series, slots: Intervals) -> bool:
    """Whether a page of slots is asked for although their sums agree: one in fifty, the same ones each time."""
    name = f"{series}|{slots[0].start}".encode()
    return int.from_bytes(hashlib.sha1(name, usedforsecurity=False).digest()[:4]) % ONE_PAGE_IN == 0


def _sum_of(bars: Sequence[Values]) -> Values:
    opens, highs, lows, closes, volumes = zip(*bars, strict=True)
    return opens[0], max(highs), min(lows), closes[-1], fsum(volumes)


def _is_filler(values: Values) -> bool:
    return values[-1] == 0 and len({*values[:-1]}) == 1
