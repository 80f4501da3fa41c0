"""Arithmetic of runs of slots: what is in both, what is in one only. Pure."""

from __future__ import annotations

from bisect import bisect_right
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


def spans_in(open_times: Iterable[int], step: int) -> list[Interval]:
    """Return the maximal runs of ascending, distinct open times on one grid, as half-open intervals."""
    spans: list[Interval] = []
    start = stop = None
    for open_time in open_times:
        if open_time != stop:
            if start is not None and stop is not None:
                spans.append(Interval(start, stop))
            start = open_time
        stop = open_time + step
    if start is not None and stop is not None:
        spans.append(Interval(start, stop))
    return spans


def common(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return what lies in both; each is ascending and disjoint, and so is the answer."""
    if not ones or not others:
        return []
    if len(others) == 1 and _spans(others[0], ones):
        return list(ones)
    if len(ones) == 1 and _spans(ones[0], others):
        return list(others)
    found: list[Interval] = []
    one = other = 0
    while one < len(ones) and other < len(others):
        left, right = ones[one], others[other]
        start = max(right.start, left.start)
        stop = min(right.stop, left.stop)
        if start < stop:
            found.append(Interval(start, stop))
        if left.stop <= right.stop:
            one += 1
        else:
            other += 1
    return found


def without(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return what lies in `ones` and not in `others`; each is ascending and disjoint, and so is the answer."""
    if not ones or not others:
        return list(ones)
    if len(others) == 1 and _spans(others[0], ones):
        return []
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


def _spans(one: Interval, others: Sequence[Interval]) -> bool:
    return one.start <= others[0].start and others[-1].stop <= one.stop


def union(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return what lies in either, as maximal intervals; each is ascending and disjoint."""
    found: list[Interval] = []
    for span in sorted((*ones, *others), key=_start):
        if found and span.start <= found[-1].stop:
            found[-1] = Interval(found[-1].start, max(found[-1].stop, span.stop))
        else:
            found.append(span)
    return found


def holds(spans: Sequence[Interval], open_time: int) -> bool:
    """Whether an instant lies in one of these intervals, which ascend and are disjoint."""
    index = bisect_right(spans, open_time, key=_start) - 1
    return index >= 0 and open_time < spans[index].stop


def _start(span: Interval) -> int:
    return span.start
