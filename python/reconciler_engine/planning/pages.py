"""Which pages to ask the exchange for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval

PAGE_SLOTS = 300
"""Slots a page may span: safe under every known reading of the exchange's limit (coinbase-api facts, 2026-11)."""

MARGIN_SLOTS = 30
"""Neighbours a page asks for on each side: candles among them prove its outer slots empty. Where 60 % of the slots have
no trade, one page in a million sees none."""


# Room that a page may leave for neighbours, on both sides together, in slots; the most that costs no page is taken.
_ROOMS = (2 * MARGIN_SLOTS, MARGIN_SLOTS, 10, 2)


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

    Pages are disjoint, begin and end at a missing slot, and may span present slots in between. Of the covers with so
    few pages it is one whose pages leave room for neighbours, and cut no run in two where that costs no page: an
    answer proves nothing about a run that goes on beyond it.

    Args:
        gaps: Missing runs, ascending and disjoint, on one grid.
        step: The grid's step (ms).
        limit: Slots a page may span, at least 1.
    """
    if limit < 1:
        raise ValueError(f"limit {limit} is not a number of slots; allowed: 1 or more")
    reaches = _reaches(gaps, step, limit)
    count, width = len(reaches) - 1, limit
    for room in _ROOMS:
        if limit > room and len(roomy := _reaches(gaps, step, limit - room)) == count + 1:
            reaches, width = roomy, limit - room
            break
    pages: list[Page] = []
    held: list[Gap] = []
    floor = 0
    for gap in reversed(gaps):
        end = gap.end
        while end >= gap.start:
            # Laying each page against the newest slot not yet covered is minimal: some page must hold that slot, and
            # none that does reaches further back. It may end before, as long as the older pages reach up to there.
            would_cut = end == gap.end and gap.start < floor
            if held and (end < floor or (would_cut and end <= reaches[count - len(pages) - 1])):
                pages.append(_page(held, step))
                held = []
            if not held:
                floor = end - (width - 1) * step
            start = max(gap.start, floor)
            held.append(Gap(start, end, (end - start) // step + 1))
            end = start - step
    if held:
        pages.append(_page(held, step))
    return pages


def _reaches(gaps: Sequence[Gap], step: int, limit: int) -> list[int]:
    """Return by number of pages up to where so many, laid from the oldest slot on, can cover all slots (inclusive).

    The last number is the fewest pages that cover all.
    """
    reaches = [-1]
    for gap in gaps:
        while (start := max(gap.start, reaches[-1] + 1)) <= gap.end:
            reaches.append(start + limit * step - 1)
    return reaches


def territories(pages: Sequence[Page], step: int, closed: int) -> list[Interval]:
    """Return the slots that each page is to look after: up to half way to its neighbours, disjoint.

    Args:
        pages: Of one series, disjoint, newest first.
        step: The grid's step (ms).
        closed: First open time that has not closed.
    """
    # The odd slot in the middle goes to the newer page.
    borders = [
        older.interval.stop + (newer.interval.start - older.interval.stop) // step // 2 * step
        for newer, older in pairwise(pages)
    ]
    return [Interval(start, stop) for stop, start in pairwise([closed, *borders, 0])] if pages else []


def with_margins(
    pages: Sequence[Page], step: int, closed: int, *, margin: int = MARGIN_SLOTS, limit: int = PAGE_SLOTS
) -> list[Page]:
    """Return the pages, each with up to `margin` more slots on either side; their number and their gaps stay.

    No page asks for a slot that has not closed. Each stays in its territory, but for a side on which that leaves no
    neighbour, as where a run was cut: there it reaches over, or nothing could prove the run's slots next to the cut.

    Args:
        pages: Of one series, disjoint, newest first.
        step: The grid's step (ms).
        closed: First open time that has not closed.
        margin: Slots added to a side at most.
        limit: Slots a page may span.
    """
    wide: list[Page] = []
    for page, own in zip(pages, territories(pages, step, closed), strict=True):
        start, stop = page.interval.start, page.interval.stop
        older = min((start - own.start) // step or margin, start // step, margin)
        newer = min((own.stop - stop) // step or margin, (closed - stop) // step, margin)
        wide.append(widen(page, step, older, newer, limit=limit))
    return wide


def widen(page: Page, step: int, older: int, newer: int, *, limit: int = PAGE_SLOTS) -> Page:
    """Return a page with up to so many more slots on either side, `limit` in all; its gaps stay."""
    start, stop = page.interval.start, page.interval.stop
    older, newer = max(older, 0), max(newer, 0)
    spare = limit - (stop - start) // step
    before = min(older, max(spare - newer, spare // 2))
    after = min(newer, spare - before)
    return Page(Interval(start - before * step, stop + after * step), page.gaps)


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
