"""The backfill of one series: its verified part, its pages under way, its counts."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from reconciler_engine.engine.backfill.mark import Mark
from reconciler_engine.engine.backfill.reader import Reading, SlotCounts
from reconciler_engine.engine.tasks.messages import PageOutcome
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import SeriesResult
from reconciler_engine.market.series import Series
from reconciler_engine.planning.listing import Listing
from reconciler_engine.planning.pages import PAGE_SLOTS, Page, PageStream, margin_of, widen


@dataclass(frozen=True, slots=True)
class BackfilledSeries(SeriesResult):
    """Counts of a backfill in one series, over all its lives; requests are those of this life.

    Attributes:
        verified_to: Every slot before this instant (ms UTC) was read exactly, and asked for where it was missing.
        resumed_at: Where an earlier, interrupted backfill had left off (ms UTC), or None.
    """

    verified_to: int = 0
    resumed_at: int | None = None


@dataclass(slots=True)
class _OpenPage:
    """A page under way; the slots wanted are those without a candle; beside them are `candles` to verify."""

    page: Page
    is_bridge: bool = False
    candles: Intervals = NOTHING
    outcome: PageOutcome | None = None


class SeriesProgress:
    """Follows one series. Pages may end in any order; they count in the order of their slots.

    The mark stops before the first page that could not be asked, and goes no further until a later run asks for it;
    pages done behind it are counted all the same. Holds the pages under way and those done before an older one.

    Args:
        series: The series.
        window: The closed slots of the range.
        mark: Where to go on.
        resumed: Whether the mark is an earlier run's.
        listing: When the product can have candles.
        closed: First open time (ms UTC) that had not closed when the backfill began.
    """

    def __init__(
        self, series: Series, window: Interval, mark: Mark, *, resumed: bool, closed: int, listing: Listing
    ) -> None:
        self.series = series
        self.window = window
        self.listing = listing
        self.closed = closed
        self.mark = mark
        self.saved: Mark | None = None
        self.pages = PageStream(series.timeframe.step_ms)
        self.read_to = mark.verified_to
        self.is_read = False
        self.is_stopped = False
        self._step = series.timeframe.step_ms
        self._resumed_at = mark.verified_to if resumed else None
        self._counts = mark.model_copy()
        self._requests_before = mark.requests if resumed else 0
        self._asked_to = 0
        self._unverified = NOTHING
        self._numbered = 0
        self._open: OrderedDict[str, _OpenPage] = OrderedDict()
        # Where a reading ends, with its duplicates and malformed members: counted once all before is verified.
        self._faulty: deque[tuple[int, int, int]] = deque()
        self._unasked: deque[tuple[Interval, bool]] = deque()
        self._looked_again = False
        self._failed = False
        self._waiting_slots = 0

    @property
    def is_asked(self) -> bool:
        """Whether nothing is left that was planned."""
        return (self.is_read or self.is_stopped) and not self._open

    @property
    def wants_second_look(self) -> bool:
        """Whether pages over slots that no answer has proved could prove something."""
        return not (self._looked_again or self.is_stopped or self._failed) and self._counts.unresolved > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done."""
        return self.is_asked and not self.wants_second_look

    @property
    def is_verified(self) -> bool:
        """Whether the whole range was read, and asked for where it was missing."""
        return self.mark.verified_to >= self.window.stop

    @property
    def slots(self) -> int:
        """Slots of the range."""
        return self.window.size(self._step)

    @property
    def slots_done(self) -> int:
        """Slots that were read, less those that are asked for."""
        read = Interval(self.window.start, self.read_to).size(self._step)
        return max(0, read - self._waiting_slots)

    @property
    def requests(self) -> int:
        """Requests sent in this life for pages that have ended."""
        return (
            self._counts.requests
            - self._requests_before
            + sum(opened.outcome.requests for opened in self._open.values() if opened.outcome is not None)
        )

    def note_reading(self, reading: Reading) -> None:
        """Count a part of the range that was read, after its pages were added."""
        self.read_to = reading.interval.stop
        if reading.duplicates or reading.malformed:
            self._faulty.append((reading.interval.stop, len(reading.duplicates), len(reading.malformed)))
        unasked = [*((one, True) for one in reading.confirmed), *((one, False) for one in reading.resting)]
        self._unasked += sorted(unasked)
        self._advance()

    def lay(self, reading: Reading) -> list[Page]:
        """Take the next part of the range; return the pages that no later part can join."""
        self._unverified |= reading.unverified
        return self.pages.add(reading.due | reading.unverified, reading.interval.stop)

    def add_page(self, page: Page) -> tuple[str, Interval, Intervals]:
        """Take a page under way, after all of older slots; return its id, the slots to ask for and candles to verify.

        The slots are the page's and its neighbours', whose candles prove the slots at its ends; no two pages' overlap.
        """
        # The next page begins a page's length after this one, or later.
        asked = self._widened(page, self._asked_to, min(self.closed, page.interval.start + PAGE_SLOTS * self._step))
        self._asked_to = asked.stop
        candles = page.wanted & self._unverified
        self._unverified -= page.interval
        self._waiting_slots += page.wanted.size(self._step)
        opened = _OpenPage(Page(page.interval, page.wanted - candles), candles=candles)
        return self._take_under_way(opened), asked, candles

    @property
    def counts(self) -> SlotCounts:
        """Slots without a candle that were counted so far."""
        return self._counts.counts

    def end_second_look(self, before: SlotCounts, found: SlotCounts) -> None:
        """Take note that the range was read once more, after the pages were added that this led to.

        Args:
            before: The counts when it began.
            found: The counts as they were read: less where an earlier life settled more than it lived to count.
        """
        self._counts.count_change(found - before)
        self._looked_again = True
        self._advance()

    def add_bridge(self, page: Page) -> tuple[str, Interval, Intervals]:
        """Take a page over slots that were asked for in vain; return the same of it.

        These are the page's and neighbours on both sides: the candles that pages before had on one side only, or beyond
        the range.
        """
        return self._take_under_way(_OpenPage(page, is_bridge=True)), self._widened(page, 0, self.closed), NOTHING

    def _widened(self, page: Page, start: int, stop: int) -> Interval:
        """Return the slots of a page with its neighbours between two instants, as `with_margins` takes them."""
        older, newer = (page.interval.start - start) // self._step, (stop - page.interval.stop) // self._step
        margin = margin_of(page, self._step)
        return widen(page, self._step, min(older, margin), min(newer, margin)).interval

    def _take_under_way(self, opened: _OpenPage) -> str:
        self._numbered += 1
        name = f"{self.series}-{self._numbered}"
        self._open[name] = opened
        return name

    def settle(self, outcome: PageOutcome) -> bool:
        """Take the outcome of a page; return False if the page was not under way."""
        opened = self._open.get(outcome.id)
        if opened is None or opened.outcome is not None:
            return False
        opened.outcome = outcome
        self._forget_waiting(opened)
        if outcome.refused:
            self.stop(None)
        self._advance()
        return True

    def stop(self, error: str | None) -> None:
        """Examine no more of this series; pages under way are awaited all the same."""
        self.is_stopped = True
        self._counts.note(error)

    def abandon(self, name: str) -> None:
        """Forget a page of a stopped series that was never handed to a worker."""
        self._forget_waiting(self._open.pop(name))
        self._failed = True
        self._advance()

    def _forget_waiting(self, opened: _OpenPage) -> None:
        if not opened.is_bridge:
            self._waiting_slots -= (opened.page.wanted | opened.candles).size(self._step)

    def result(self) -> BackfilledSeries:
        """Return the counts so far."""
        return BackfilledSeries(
            symbol=self.series.symbol,
            timeframe=self.series.timeframe.value,
            start=self.window.start,
            stop=self.window.stop,
            expected=self.slots,
            verified_to=self.mark.verified_to,
            resumed_at=self._resumed_at,
            **{**self._counts.figures(), "requests": self._counts.requests - self._requests_before},
        )

    @property
    def gaps_filled(self) -> int:
        """Gaps of which no slot is missing any more."""
        return self._counts.gaps - self._counts.open_gaps

    def _advance(self) -> None:
        """Count pages that have ended, oldest first, and move the mark up to the first slot that is not verified."""
        while self._open:
            name, opened = next(iter(self._open.items()))
            if opened.outcome is None:
                break
            # Up to this page all is counted, should it turn out that it could not be asked.
            self._move_mark()
            del self._open[name]
            if opened.is_bridge:
                self._counts.count_bridge(opened.page, opened.outcome, self._step)
            # Could not be asked: nothing is known about the slots that are still missing.
            elif not self._counts.count_page(opened.page, opened.outcome, self._step, opened.candles):
                self._failed = True
        self._move_mark()

    def _move_mark(self) -> None:
        """Move the mark, unless a page before could not be asked."""
        verified_to = self._verified_to()
        while self._faulty and self._faulty[0][0] <= verified_to:
            _, duplicates, malformed = self._faulty.popleft()
            self._counts.duplicates += duplicates
            self._counts.malformed += malformed
        # None of them reaches over it: a page begins there, or a reading ends.
        while self._unasked and self._unasked[0][0].start < verified_to:
            interval, is_confirmed = self._unasked.popleft()
            self._counts.count_unasked(interval.size(self._step), is_confirmed=is_confirmed)
        if not self._failed:
            self._counts.verified_to = verified_to
            self.mark = self._counts.model_copy()

    def _verified_to(self) -> int:
        if self._open and not (oldest := next(iter(self._open.values()))).is_bridge:
            return oldest.page.interval.start
        carried = self.pages.carried
        return self.read_to if carried is None else min(carried, self.read_to)
