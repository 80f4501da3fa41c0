"""Pages to ask the exchange for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reconciler_engine.market.interval import NOTHING, Interval, Intervals

PAGE_SLOTS = 300
"""Slots a page may span: safe under every known reading of the exchange's limit (coinbase-api facts, 2026-11)."""

ROOMY_SLOTS = PAGE_SLOTS - 1
"""Slots of a page that leaves room for the forming bar: with that one its newest row is not cut."""

MARGIN_SLOTS = 30
"""Neighbours a page asks for on each side: candles among them prove its outer slots empty. Where 60 % of the slots have
no trade, one page in a million sees none."""


# Room that a page may leave for neighbours, on both sides together, in slots; the most that costs no page is taken.
_ROOMS = (2 * MARGIN_SLOTS, MARGIN_SLOTS, 10, 2)


@dataclass(frozen=True, slots=True)
class Page:
    """One request.

    Attributes:
        interval: The slots it asks for, at most `PAGE_SLOTS`.
        wanted: Those of them that it is sent for.
    """

    interval: Interval
    wanted: Intervals


MayWait = Callable[[int, int], bool]
"""Asked where a page has room for a part of an interval only: whether all slots from an instant on (second argument)
can be in later pages, after so many (first). If so the interval waits for the next page, whole; else it is cut."""


def cut_to_fill(_laid: int, _start: int) -> bool:
    """Leave no room in a page."""
    return False


def keep_whole(_laid: int, _start: int) -> bool:
    """Cut nothing that fits a page."""
    return True


class PageStream:
    """The fewest pages that cover slots which become known in ascending order, oldest page first.

    Each page begins at the oldest slot not yet covered: some page must hold that slot, and none that does reaches
    further ahead. So a border between two calls makes no difference: a page that later slots may still fill up is
    carried over. Holds one page at most.

    Args:
        step: The grid's step (ms).
        limit: Slots a page may span, at least 1.
        may_wait: Says of an interval whether it waits for the next page, whole, or is cut.
    """

    def __init__(self, step: int, limit: int = PAGE_SLOTS, may_wait: MayWait = cut_to_fill) -> None:
        if limit < 1:
            raise ValueError(f"limit {limit} is not a number of slots; allowed: 1 or more")
        self._length = limit * step
        self._may_wait = may_wait
        self._carried: list[tuple[int, int]] = []
        self._end = 0
        self._laid = 0

    @property
    def carried(self) -> int | None:
        """Oldest slot (ms UTC) that is in no page yet, or None."""
        return self._carried[0][0] if self._carried else None

    def add(self, slots: Iterable[Interval], examined_to: int) -> list[Page]:
        """Take the next slots and return the pages that no later slot can join.

        Args:
            slots: Ascending and disjoint, after all that were given before.
            examined_to: First instant (ms UTC) that has not been examined yet; every slot ends before it.
        """
        pages: list[Page] = []
        for interval in slots:
            start, stop = interval.start, interval.stop
            while start < stop:
                # A page that is full, or has room for a part of the slots that may wait, is final.
                if self._carried and stop > self._end and (start >= self._end or self._may_wait(self._laid + 1, start)):
                    pages.append(self._take())
                if not self._carried:
                    self._end = start + self._length
                end = min(stop, self._end)
                self._carried.append((start, end))
                start = end
        if self._carried and examined_to >= self._end:
            pages.append(self._take())
        return pages

    def finish(self) -> list[Page]:
        """Return the page that was carried, if any: no later slots follow."""
        return [self._take()] if self._carried else []

    def _take(self) -> Page:
        wanted = Intervals.joined(self._carried)
        self._carried = []
        self._laid += 1
        return Page(wanted.hull, wanted)


def lay(slots: Sequence[Interval], step: int, limit: int = PAGE_SLOTS, may_wait: MayWait = cut_to_fill) -> list[Page]:
    """Return the fewest pages that cover ascending slots, oldest first; the arguments are those of `PageStream`."""
    stream = PageStream(step, limit, may_wait)
    return [*stream.add(slots, slots[-1].stop if slots else 0), *stream.finish()]


def cover(slots: Intervals, step: int, limit: int = PAGE_SLOTS) -> list[Page]:
    """Return the fewest pages that cover slots, newest first.

    Pages are disjoint, begin and end at one of these slots, and may span others in between. Of the covers with so few
    pages it is one whose pages leave room for neighbours, and cut no interval in two where that costs no page: an
    answer proves nothing about slots without a candle that go on beyond it.

    Args:
        slots: The slots, on the grid.
        step: The grid's step (ms).
        limit: Slots a page may span, at least 1.
    """
    older, width = lay(slots, step, limit), limit
    for room in _ROOMS:
        if limit > room and len(roomy := lay(slots, step, limit - room)) == len(older):
            older, width = roomy, limit - room
            break
    # Up to where so many pages, laid from the oldest slot on, can cover all slots.
    reaches = [page.interval.start + width * step for page in older]

    def may_wait(laid: int, start: int) -> bool:
        left = len(older) - laid
        return left > 0 and -start <= reaches[left - 1]

    # Pages are laid from the oldest slot on: mirrored, the newest is the oldest.
    wanted = (_mirrored(page.wanted) for page in lay(_mirrored(slots), step, width, may_wait))
    return [Page(one.hull, one) for one in wanted]


def _mirrored(slots: Intervals) -> Intervals:
    return Intervals.joined((-one.stop, -one.start) for one in reversed(slots))


def shares(pages: Sequence[Page], step: int, closed: int) -> list[Interval]:
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


def margin_of(page: Page, step: int) -> int:
    """Return how many neighbours a page asks for on each side: to prove slots empty alone, it needs as many candles."""
    return max(MARGIN_SLOTS, page.wanted.size(step))


def with_margins(
    pages: Sequence[Page], step: int, closed: int, *, margin: int | None = None, limit: int = PAGE_SLOTS
) -> list[Page]:
    """Return the pages, each with more slots on either side; their number and the slots wanted stay.

    No page asks for a slot that has not closed. Each stays in its share, but for a side on which that leaves no
    neighbour, as where an interval was cut: there it reaches over, or nothing could prove the slots next to the cut.

    Args:
        pages: Of one series, disjoint, newest first.
        step: The grid's step (ms).
        closed: First open time that has not closed.
        margin: Slots added to a side at most; None for those of `margin_of`, and all that fit before the newest.
        limit: Slots a page may span.
    """
    wide: list[Page] = []
    for page, own in zip(pages, shares(pages, step, closed), strict=True):
        start, stop = page.interval.start, page.interval.stop
        most = margin_of(page, step) if margin is None else margin
        least = min(most, MARGIN_SLOTS)
        # The newest page has room for older neighbours at no cost: they are witnesses where the newest candles fail.
        back = limit if margin is None and closed - stop <= MARGIN_SLOTS * step else most
        older = min((start - own.start) // step or least, start // step, back)
        newer = min((own.stop - stop) // step or least, (closed - stop) // step, most)
        wide.append(widen(page, step, older, newer, limit=limit))
    return wide


def widen(page: Page, step: int, older: int, newer: int, *, limit: int = PAGE_SLOTS) -> Page:
    """Return a page with up to so many more slots on either side, `limit` in all; the slots wanted stay."""
    start, stop = page.interval.start, page.interval.stop
    older, newer = max(older, 0), max(newer, 0)
    spare = max(limit - (stop - start) // step, 0)
    before = min(older, max(spare - newer, spare // 2))
    after = min(newer, spare - before)
    return Page(Interval(start - before * step, stop + after * step), page.wanted)


def filled_up(slots: Interval, closed: int, step: int) -> Interval:
    """Return slots with as many neighbours as a page holds: the more witnesses, the more its answer shows.

    Args:
        slots: A page's slots.
        closed: First open time that has not closed (ms UTC).
        step: The grid's step (ms).
    """
    older, newer = slots.start // step, (closed - slots.stop) // step
    return widen(Page(slots, NOTHING), step, older, newer, limit=ROOMY_SLOTS).interval


def shards(sizes: Iterable[int], limit: int) -> list[range]:
    """Group consecutive items so that each group's sizes add up to at most `limit`.

    An item larger than the limit is a group of its own. Returns index ranges that partition the items in order.
    """
    groups: list[range] = []
    start = 0
    total = 0
    count = 0
    for index, size in enumerate(sizes):
        count = index + 1
        if index > start and total + size > limit:
            groups.append(range(start, index))
            start, total = index, 0
        total += size
    if count > start:
        groups.append(range(start, count))
    return groups
