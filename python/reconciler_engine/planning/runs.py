"""Arithmetic of runs of slots: what is in both, what is in one only. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval


def spans_of(gaps: Iterable[Gap], step: int) -> list[Interval]:
    """Write gaps on a grid of `step` ms as half-open intervals."""
    return [Interval(gap.start, gap.end + step) for gap in gaps]


def gaps_in(spans: Iterable[Interval], step: int) -> tuple[Gap, ...]:
    """Write intervals whose ends lie on a grid of `step` ms as gaps; empty ones are left out."""
    return tuple(
        Gap(span.start, span.stop - step, (span.stop - span.start) // step) for span in spans if span.start < span.stop
    )


def runs_in(open_times: Iterable[int], step: int) -> tuple[Gap, ...]:
    """Return the maximal runs of ascending open times on one grid."""
    gaps: list[Gap] = []
    for open_time in open_times:
        if gaps and open_time == gaps[-1].end + step:
            gaps[-1] = Gap(gaps[-1].start, open_time, gaps[-1].count + 1)
        else:
            gaps.append(Gap(open_time, open_time, 1))
    return tuple(gaps)


def common(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return what lies in both; each is ascending and disjoint, and so is the answer."""
    found: list[Interval] = []
    one = other = 0
    while one < len(ones) and other < len(others):
        start = max(ones[one].start, others[other].start)
        stop = min(ones[one].stop, others[other].stop)
        if start < stop:
            found.append(Interval(start, stop))
        if ones[one].stop <= others[other].stop:
            one += 1
        else:
            other += 1
    return found


def without(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return what lies in `ones` and not in `others`; each is ascending and disjoint, and so is the answer."""
    found: list[Interval] = []
    other = 0
    for span in ones:
        start = span.start
        while other < len(others) and others[other].stop <= start:
            other += 1
        index = other
        while index < len(others) and others[index].start < span.stop:
            if start < others[index].start:
                found.append(Interval(start, others[index].start))
            start = max(start, others[index].stop)
            index += 1
        if start < span.stop:
            found.append(Interval(start, span.stop))
    return found
