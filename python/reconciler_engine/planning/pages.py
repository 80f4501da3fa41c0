"""Which pages to ask the exchange for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval

PAGE_SLOTS = 300
"""Slots a page may span: safe under every known reading of the exchange's limit (coinbase-api facts, 2026-11)."""


@dataclass(frozen=True, slots=True)
class Page:
    """One request: a span of at most `PAGE_SLOTS` slots and the missing runs in it, ascending."""

    interval: Interval
    gaps: tuple[Gap, ...]

    @property
    def missing(self) -> int:
        """Number of slots this page is asked for."""
        return sum(gap.count for gap in self.gaps)


def cover(gaps: Sequence[Gap], step: int, limit: int = PAGE_SLOTS) -> list[Page]:
    """Return the fewest pages that cover every missing slot, newest first.

    Pages are disjoint, begin and end at a missing slot, and may span present slots in between. Laying each page
    against the newest slot not yet covered is minimal: some page must hold that slot, and none that does reaches
    further back.

    Args:
        gaps: Missing runs, ascending and disjoint, on one grid.
        step: The grid's step (ms).
        limit: Slots a page may span, at least 1.
    """
    if limit < 1:
        raise ValueError(f"limit {limit} is not a number of slots; allowed: 1 or more")
    pages: list[Page] = []
    held: list[Gap] = []
    floor = 0
    for gap in reversed(gaps):
        end = gap.end
        while end >= gap.start:
            if held and end < floor:
                pages.append(_page(held, step))
                held = []
            if not held:
                floor = end - (limit - 1) * step
            start = max(gap.start, floor)
            held.append(Gap(start, end, (end - start) // step + 1))
            end = start - step
    if held:
        pages.append(_page(held, step))
    return pages


def _page(newest_first: list[Gap], step: int) -> Page:
    gaps = tuple(reversed(newest_first))
    return Page(Interval(gaps[0].start, gaps[-1].end + step), gaps)


def shards(sizes: Iterable[int], limit: int) -> list[range]:
    """Group consecutive items so that each group's sizes add up to at most `limit`.

    An item larger than the limit is a group of its own. Returns index ranges that partition the items in order.
    """
    groups: list[range] = []
    start = 0
    held = 0
    count = 0
    for index, size in enumerate(sizes):
        count = index + 1
        if index > start and held + size > limit:
            groups.append(range(start, index))
            start, held = index, 0
        held += size
    if count > start:
        groups.append(range(start, count))
    return groups
