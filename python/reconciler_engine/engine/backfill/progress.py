"""The progress of a backfill in one series: the verified part, the open pages, the counts."""

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
    """Counts of a backfill in one series; all but `requests` include the time before an interruption.

    Attributes:
        verified_to: Every slot before this instant (ms UTC) was read and, if it was missing, asked for.
        resumed_at: Instant at which an interrupted backfill was continued (ms UTC); None for a new one.
    """

    verified_to: int = 0
    resumed_at: int | None = None


@dataclass(slots=True)
class _OpenPage:
    """A page that is not counted yet: `page.wanted` are its missing slots, `candles` the slots to verify."""

    page: Page
    is_bridge: bool = False
    candles: Intervals = NOTHING
    outcome: PageOutcome | None = None


class SeriesProgress:
    """Follows the backfill of one series. Pages may end in any order, but are counted in the order of their slots.

    The mark stops before the first page that failed, until a later run asks for it; later pages are counted
    nevertheless. A finished page is held until all older pages have finished.

    Args:
        series: The series.
        window: The closed slots of the range.
        mark: The mark from which to continue.
        resumed: Whether the mark comes from an earlier run.
        listing: Time in which the product can have candles.
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
        # End of a reading, its duplicates and malformed members; counted once all slots before that end are verified.
        self._faulty: deque[tuple[int, int, int]] = deque()
        self._unasked: deque[tuple[Interval, bool]] = deque()
        self._looked_again = False
        self._failed = False
        self._waiting_slots = 0

    @property
    def is_asked(self) -> bool:
        """Whether all planned pages have finished."""
        return (self.is_read or self.is_stopped) and not self._open

    @property
    def wants_second_look(self) -> bool:
        """Whether unresolved slots are left that wider pages may settle."""
        return not (self._looked_again or self.is_stopped or self._failed) and self._counts.unresolved > 0

    @property
    def is_over(self) -> bool:
        """Whether the backfill of the series has ended."""
        return self.is_asked and not self.wants_second_look

    @property
    def is_verified(self) -> bool:
        """Whether every slot of the range was read and, if it was missing, asked for."""
        return self.mark.verified_to >= self.window.stop

    @property
    def slots(self) -> int:
        """Number of slots of the range."""
        return self.window.size(self._step)

    @property
    def slots_done(self) -> int:
        """Number of slots read, without those of open pages."""
        read = Interval(self.window.start, self.read_to).size(self._step)
        return max(0, read - self._waiting_slots)

    @property
    def requests(self) -> int:
        """Number of requests that this run sent for finished pages."""
        return (
            self._counts.requests
            - self._requests_before
            + sum(opened.outcome.requests for opened in self._open.values() if opened.outcome is not None)
        )

    def note_reading(self, reading: Reading) -> None:
        """Count a part of the range, after its pages were added."""
        self.read_to = reading.interval.stop
        if reading.duplicates or reading.malformed:
            self._faulty.append((reading.interval.stop, len(reading.duplicates), len(reading.malformed)))
        unasked = [*((one, True) for one in reading.confirmed), *((one, False) for one in reading.resting)]
        self._unasked += sorted(unasked)
        self._advance()

    def lay(self, reading: Reading) -> list[Page]:
        """Take the next part of the range; return the pages that are final, whatever the later parts contain."""
        self._unverified |= reading.unverified
        return self.pages.add(reading.due | reading.unverified, reading.interval.stop)

    def add_page(self, page: Page) -> tuple[str, Interval, Intervals]:
        """Add a page, after all pages of older slots; return its id, the slots to ask for and the candles to verify.

        The slots to ask for include neighbours, whose candles help to prove the slots at the page's ends. Pages do not
        overlap.
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
        """Numbers of slots without a candle counted so far."""
        return self._counts.counts

    def end_second_look(self, before: SlotCounts, found: SlotCounts) -> None:
        """Record the end of the second reading of the range, after its pages were added.

        Args:
            before: The counts at its beginning.
            found: The counts that it read; lower if an interrupted run settled slots without counting them.
        """
        self._counts.count_change(found - before)
        self._looked_again = True
        self._advance()

    def add_bridge(self, page: Page) -> tuple[str, Interval, Intervals]:
        """Add a page over slots that earlier answers left unresolved; return the same three values as `add_page`.

        The slots to ask for include neighbours on both sides, since earlier pages had candles on one side only.
        """
        return self._take_under_way(_OpenPage(page, is_bridge=True)), self._widened(page, 0, self.closed), NOTHING

    def _widened(self, page: Page, start: int, stop: int) -> Interval:
        """Return the slots of a page with neighbours between two instants, as many as `with_margins` adds."""
        older, newer = (page.interval.start - start) // self._step, (stop - page.interval.stop) // self._step
        margin = margin_of(page, self._step)
        return widen(page, self._step, min(older, margin), min(newer, margin)).interval

    def _take_under_way(self, opened: _OpenPage) -> str:
        self._numbered += 1
        name = f"{self.series}-{self._numbered}"
        self._open[name] = opened
        return name

    def settle(self, outcome: PageOutcome) -> bool:
        """Record the outcome of a page; return False if the page is unknown or has one already."""
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
        """Read no further; the outcomes of open pages are still awaited."""
        self.is_stopped = True
        self._counts.note(error)

    def abandon(self, name: str) -> None:
        """Remove a page of a stopped series that was not handed to a worker."""
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
        """Number of gaps in which every slot now holds a candle."""
        return self._counts.gaps - self._counts.open_gaps

    def _advance(self) -> None:
        """Count finished pages, oldest first, and move the mark up to the first slot that is not verified."""
        while self._open:
            name, opened = next(iter(self._open.items()))
            if opened.outcome is None:
                break
            # Saves the counts before this page, in case it failed.
            self._move_mark()
            del self._open[name]
            if opened.is_bridge:
                self._counts.count_bridge(opened.page, opened.outcome, self._step)
            # After a failure the missing slots are still unknown, so the mark must stop here.
            elif not self._counts.count_page(opened.page, opened.outcome, self._step, opened.candles):
                self._failed = True
        self._move_mark()

    def _move_mark(self) -> None:
        """Move the mark, unless an earlier page failed."""
        verified_to = self._verified_to()
        while self._faulty and self._faulty[0][0] <= verified_to:
            _, duplicates, malformed = self._faulty.popleft()
            self._counts.duplicates += duplicates
            self._counts.malformed += malformed
        # No interval crosses `verified_to`, because a page begins or a reading ends there.
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
