"""Lay out the pages that are requested from the exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reconciler_engine.market.interval import NOTHING, Interval, Intervals

PAGE_SLOTS = 300
"""Most slots of a page: safe under every known reading of the exchange's limit (coinbase-api facts, 2026-11)."""

ROOMY_SLOTS = PAGE_SLOTS - 1
"""Slots of a page that leaves room for the forming bar. That bar's row shows that the row before it is complete."""

MARGIN_SLOTS = 30
"""Neighbours that a page asks for on each side. Candles among them prove the outer slots empty. If 60 % of the slots
have no trades, one page in a million has no such candle."""


# Slots that a page may leave free for neighbours, both sides together. The largest that costs no extra page is taken.
_ROOMS = (2 * MARGIN_SLOTS, MARGIN_SLOTS, 10, 2)


@dataclass(frozen=True, slots=True)
class Page:
    """One request.

    Attributes:
        interval: The slots it asks for, at most `PAGE_SLOTS`.
        wanted: Slots in it that are the reason for the request.
    """

    interval: Interval
    wanted: Intervals


MayWait = Callable[[int, int], bool]
"""Decides about an interval that fits only in part into a page: True moves it whole to the next page, False cuts it.
Called with the number of pages laid, this one included, and the start of the interval."""


def cut_to_fill(_laid: int, _start: int) -> bool:
    """Always cut, so that pages are full."""
    return False


def keep_whole(_laid: int, _start: int) -> bool:
    """Never cut an interval that fits into one page."""
    return True


class PageStream:
    """Covers slots that arrive in ascending order with the fewest pages, oldest page first.

    Each page begins at the oldest uncovered slot. That is optimal: some page must hold that slot, and no other page
    that holds it reaches further. A page that later slots may still join is carried over to the next call, at most one
    at a time, so the pages do not depend on how the slots are split over calls.

    Args:
        step: The grid's step (ms).
        limit: Slots a page may span, at least 1.
        may_wait: Decides whether an interval waits for the next page or is cut.
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
        """Oldest slot (ms UTC) of the page that is carried over, or None."""
        return self._carried[0][0] if self._carried else None

    def add(self, slots: Iterable[Interval], examined_to: int) -> list[Page]:
        """Take the next slots and return the pages that no later slot can join.

        Args:
            slots: Ascending and disjoint intervals, after all earlier ones.
            examined_to: First instant (ms UTC) that has not been examined yet; no slot ends after it.
        """
        pages: list[Page] = []
        for interval in slots:
            start, stop = interval.start, interval.stop
            while start < stop:
                # The page is final if it is full, or if the interval fits only in part and may wait.
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
        """Return the page that was carried over, if any. No slots may follow."""
        return [self._take()] if self._carried else []

    def _take(self) -> Page:
        wanted = Intervals.joined(self._carried)
        self._carried = []
        self._laid += 1
        return Page(wanted.hull, wanted)


def lay(slots: Sequence[Interval], step: int, limit: int = PAGE_SLOTS, may_wait: MayWait = cut_to_fill) -> list[Page]:
    """Return the fewest pages that cover ascending slots, oldest first; the arguments are as in `PageStream`."""
    stream = PageStream(step, limit, may_wait)
    return [*stream.add(slots, slots[-1].stop if slots else 0), *stream.finish()]


def cover(slots: Intervals, step: int, limit: int = PAGE_SLOTS) -> list[Page]:
    """Return the fewest pages that cover slots, newest first.

    Pages are disjoint, begin and end with one of these slots, and may span other slots in between. Among the covers
    with the fewest pages, this one leaves room for neighbours and avoids cutting intervals: an answer proves nothing
    about slots without a candle that continue past its end.

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
    # How far the first n pages, laid from the oldest slot on, can cover all slots.
    reaches = [page.interval.start + width * step for page in older]

    def may_wait(laid: int, start: int) -> bool:
        left = len(older) - laid
        return left > 0 and -start <= reaches[left - 1]

    # `lay` begins at the oldest slot; mirrored, the newest slot is the oldest.
    wanted = (_mirrored(page.wanted) for page in lay(_mirrored(slots), step, width, may_wait))
    return [Page(one.hull, one) for one in wanted]


def _mirrored(slots: Intervals) -> Intervals:
    return Intervals.joined((-one.stop, -one.start) for one in reversed(slots))


def shares(pages: Sequence[Page], step: int, closed: int) -> list[Interval]:
    """Divide all closed slots among the pages: the share of each reaches half way to its neighbours.

    Args:
        pages: Pages of one series, disjoint, newest first.
        step: The grid's step (ms).
        closed: First open time (ms UTC) that has not closed.
    """
    # The newer page gets the odd slot in the middle.
    borders = [
        older.interval.stop + (newer.interval.start - older.interval.stop) // step // 2 * step
        for newer, older in pairwise(pages)
    ]
    return [Interval(start, stop) for stop, start in pairwise([closed, *borders, 0])] if pages else []


def margin_of(page: Page, step: int) -> int:
    """Return how many neighbours a page asks for on each side: at least one for each wanted slot, for its proof."""
    return max(MARGIN_SLOTS, page.wanted.size(step))


def with_margins(
    pages: Sequence[Page], step: int, closed: int, *, margin: int | None = None, limit: int = PAGE_SLOTS
) -> list[Page]:
    """Return the pages widened by neighbouring closed slots; their number and the wanted slots stay.

    Each page stays in its share of `shares`. On a side where the share has no neighbour, as next to a cut through an
    interval, the page reaches into the next share: otherwise nothing could prove the slots at the cut.

    Args:
        pages: Pages of one series, disjoint, newest first.
        step: The grid's step (ms).
        closed: First open time (ms UTC) that has not closed.
        margin: Most slots added to a side. None takes those of `margin_of`, and for the newest page all older
            neighbours that fit.
        limit: Slots a page may span.
    """
    wide: list[Page] = []
    for page, own in zip(pages, shares(pages, step, closed), strict=True):
        start, stop = page.interval.start, page.interval.stop
        most = margin_of(page, step) if margin is None else margin
        least = min(most, MARGIN_SLOTS)
        # The newest page takes all older neighbours that fit: they are witnesses if the newest candles are missing.
        back = limit if margin is None and closed - stop <= MARGIN_SLOTS * step else most
        older = min((start - own.start) // step or least, start // step, back)
        newer = min((own.stop - stop) // step or least, (closed - stop) // step, most)
        wide.append(widen(page, step, older, newer, limit=limit))
    return wide


def widen(page: Page, step: int, older: int, newer: int, *, limit: int = PAGE_SLOTS) -> Page:
    """Add up to `older` and `newer` slots to a page, which then spans at most `limit`; its wanted slots stay."""
    start, stop = page.interval.start, page.interval.stop
    older, newer = max(older, 0), max(newer, 0)
    spare = max(limit - (stop - start) // step, 0)
    before = min(older, max(spare - newer, spare // 2))
    after = min(newer, spare - before)
    return Page(Interval(start - before * step, stop + after * step), page.wanted)


def filled_up(slots: Interval, closed: int, step: int) -> Interval:
    """Widen a page's slots by as many neighbours as fit: an answer with more witnesses proves more.

    Args:
        slots: Slots of the page.
        closed: First open time that has not closed (ms UTC).
        step: The grid's step (ms).
    """
    older, newer = slots.start // step, (closed - slots.stop) // step
    return widen(Page(slots, NOTHING), step, older, newer, limit=ROOMY_SLOTS).interval


def shards(sizes: Iterable[int], limit: int) -> list[range]:
    """Group consecutive items so that the sizes in each group add up to at most `limit`.

    An item larger than the limit forms its own group. Returns index ranges that partition the items in order.
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
