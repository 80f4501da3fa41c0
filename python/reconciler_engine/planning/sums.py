"""Sums: compute coarser bars from verified finer bars, to verify coarser candles without a request. Pure.

Section 9 of the rules of truth. Sums are only compared with candles, and never written to the cache.
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
"""One page in fifty is requested although each of its bars equals its sum."""

_DUST = 1e-12
"""Relative tolerance of volumes. Float sums of equal decimals differ by less than 1e-15, those of a feeder that adds up
trades by about 1e-14. A difference in the last printed digit is larger, up to volumes of 10,000. The tolerance of
`is_equal` (1e-8) would let errors grow from timeframe to timeframe."""

Values = Sequence[float]
"""Open, high, low, close, volume."""


def nearest_finer(timeframe: Timeframe, kept: Iterable[Timeframe]) -> Timeframe | None:
    """Return the longest kept timeframe that is shorter than `timeframe` and divides it evenly, or None."""
    step = timeframe.step_ms
    divides = (one for one in kept if one.step_ms < step and step % one.step_ms == 0)
    return max(divides, key=lambda one: one.step_ms, default=None)


def is_settled_empty(finding: Finding) -> bool:
    """Whether a slot was proved to have no candle and passed its last recheck. The operator's marks are not proofs."""
    return finding.is_confirmed and finding.next_check is None and finding.reason is not Reason.BY_HAND


def covered(slots: Intervals, finer: Intervals, step: int) -> Intervals:
    """Return those of `slots`, on a grid of `step` ms, that finer slots cover entirely."""
    whole = (one for one in slots.slots(step) if finer & Interval(one, one + step) == (Interval(one, one + step),))
    return Intervals.of_slots(whole, step)


def sums_of(slots: Intervals, bars: Mapping[int, Values], empty: Intervals, step: int, finer: int) -> dict[int, Values]:
    """Return the sums of finer bars, by open time of the coarser slot.

    A slot has no sum if any finer slot in it is neither in `bars` nor in `empty`, or if it has no traded bar at all.

    Args:
        slots: Slots of the coarser grid.
        bars: Verified finer bars, by open time. Fillers (no volume, one price) do not enter the sums.
        empty: Finer slots known to have no bar.
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
    """Whether a bar equals its sum: prices exactly, volume within `_DUST`."""
    return tuple(values[:-1]) == tuple(expected[:-1]) and isclose(values[-1], expected[-1], rel_tol=_DUST)


def is_audited(series: Series, slots: Intervals) -> bool:
    """Whether a page of slots is requested although its bars equal their sums: always the same one page in fifty."""
    name = f"{series}|{slots[0].start}".encode()
    return int.from_bytes(hashlib.sha1(name, usedforsecurity=False).digest()[:4]) % ONE_PAGE_IN == 0


def _sum_of(bars: Sequence[Values]) -> Values:
    opens, highs, lows, closes, volumes = zip(*bars, strict=True)
    return opens[0], max(highs), min(lows), closes[-1], fsum(volumes)


def _is_filler(values: Values) -> bool:
    return values[-1] == 0 and len({*values[:-1]}) == 1
