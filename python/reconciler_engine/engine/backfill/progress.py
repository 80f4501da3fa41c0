"""The backfill of one series: what is verified, what is under way, what was counted."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from reconciler_engine.engine.backfill.mark import Mark
from reconciler_engine.engine.backfill.reader import Piece
from reconciler_engine.engine.tasks.messages import PageOutcome, intervals_of
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.result import SeriesResult
from reconciler_engine.market.series import Series
from reconciler_engine.planning.page_stream import PageStream
from reconciler_engine.planning.pages import MARGIN_SLOTS, PAGE_SLOTS, Page, widen
from reconciler_engine.planning.proof import Listing


@dataclass(frozen=True, slots=True)
class BackfilledSeries(SeriesResult):
    """What a backfill did in one series, over all its lives.

    Attributes:
        verified_to: Every slot before this instant (ms UTC) was read exactly, and asked for where it was missing.
        resumed_at: Where an earlier, interrupted backfill had left off (ms UTC), or None.
    """

    verified_to: int = 0
    resumed_at: int | None = None


@dataclass(slots=True)
class _OpenPage:
    page: Page
    is_bridge: bool
    outcome: PageOutcome | None = None


class SeriesProgress:
    """Follows one series. Pages may end in any order; they count in the order of their slots.

    The mark stops before the first page that could not be asked, and goes no further until a later run asks for it;
    what is done behind it is counted all the same. Holds the pages under way and those done before an older one.

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
        self._asked_to = 0
        self.mark = mark
        self.ascent = PageStream(series.timeframe.step_ms)
        self.audited_to = mark.verified_to
        self.is_audited = False
        self.is_stopped = False
        self.saved: Mark | None = None
        self._resumed_at = mark.verified_to if resumed else None
        self._counts = mark.model_copy()
        self._open: OrderedDict[str, _OpenPage] = OrderedDict()
        self._pieces: deque[tuple[int, int, int]] = deque()
        self._resting: deque[tuple[Gap, bool]] = deque()
        self._looked_again = False
        self._failed = False
        self._numbered = 0
        self._waiting_slots = 0

    @property
    def is_asked(self) -> bool:
        """Whether nothing is left that was planned."""
        return (self.is_audited or self.is_stopped) and not self._open

    @property
    def wants_second_look(self) -> bool:
        """Whether pages over what no answer has proved could prove something."""
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
        return len(self.window.grid(self.series.timeframe.step_ms))

    @property
    def slots_done(self) -> int:
        """Slots that were read, less those that are asked for."""
        read = len(Interval(self.window.start, self.audited_to).grid(self.series.timeframe.step_ms))
        return max(0, read - self._waiting_slots)

    @property
    def requests(self) -> int:
        """Requests sent for pages that have ended."""
        return self._counts.requests + sum(
            held.outcome.requests for held in self._open.values() if held.outcome is not None
        )

    def note_audit(self, piece: Piece) -> None:
        """Count a piece that was read, after its pages were added."""
        self.audited_to = piece.interval.stop
        if piece.duplicates or piece.malformed:
            self._pieces.append((piece.interval.stop, len(piece.duplicates), piece.malformed))
        self._resting += sorted([*((gap, True) for gap in piece.confirmed), *((gap, False) for gap in piece.waiting)])
        self._advance()

    def add_page(self, page: Page) -> tuple[str, Interval]:
        """Take a page under way, after all of older slots; return its id and the slots to ask for.

        These are the page's and its neighbours', whose candles prove what lies at its ends; no two pages' overlap.
        """
        step = self.series.timeframe.step_ms
        # The next page begins a page's length after this one, or later.
        free = min(self.closed, page.interval.start + PAGE_SLOTS * step)
        older, newer = (page.interval.start - self._asked_to) // step, (free - page.interval.stop) // step
        asked = widen(page, step, min(older, MARGIN_SLOTS), min(newer, MARGIN_SLOTS)).interval
        self._asked_to = asked.stop
        self._waiting_slots += page.missing
        return self._take_under_way(page, is_bridge=False), asked

    @property
    def unproven(self) -> tuple[int, int]:
        """Slots counted so far as unresolved and as confirmed to have no candle."""
        return self._counts.unresolved, self._counts.confirmed_empty

    def end_second_look(self, before: tuple[int, int], found: tuple[int, int]) -> None:
        """Take note that the range was read once more, after the pages were added that this led to.

        Args:
            before: What `unproven` said when it began.
            found: The same, as it was read: less where an earlier life settled more than it lived to count.
        """
        self._count_settled(before[0] - found[0], found[1] - before[1])
        self._looked_again = True
        self._advance()

    def add_bridge(self, page: Page) -> tuple[str, Interval]:
        """Take a page over runs that were asked for in vain, once the range is; return its id and the slots to ask for.

        These are the page's and neighbours on both sides: the candles that pages before had on one side only, or beyond
        the range.
        """
        step = self.series.timeframe.step_ms
        older, newer = page.interval.start // step, (self.closed - page.interval.stop) // step
        asked = widen(page, step, min(older, MARGIN_SLOTS), min(newer, MARGIN_SLOTS)).interval
        return self._take_under_way(page, is_bridge=True), asked

    def _take_under_way(self, page: Page, *, is_bridge: bool) -> str:
        self._numbered += 1
        name = f"{self.series}-{self._numbered}"
        self._open[name] = _OpenPage(page, is_bridge)
        return name

    def settle(self, outcome: PageOutcome) -> bool:
        """Take what became of a page; return False where it was no page under way."""
        held = self._open.get(outcome.id)
        if held is None or held.outcome is not None:
            return False
        held.outcome = outcome
        self._forget_waiting(held)
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

    def _forget_waiting(self, held: _OpenPage) -> None:
        if not held.is_bridge:
            self._waiting_slots -= held.page.missing

    def result(self) -> BackfilledSeries:
        """Return what was done so far."""
        counts = self._counts
        return BackfilledSeries(
            symbol=self.series.symbol,
            timeframe=self.series.timeframe.value,
            start=self.window.start,
            stop=self.window.stop,
            expected=self.slots,
            missing=counts.missing,
            gaps=counts.gaps,
            filled=counts.filled,
            confirmed_empty=counts.confirmed_empty,
            unresolved=counts.unresolved,
            mismatched=counts.mismatched,
            repaired=counts.repaired,
            duplicates=counts.duplicates,
            malformed=counts.malformed,
            requests=counts.requests,
            errors=counts.errors,
            verified_to=self.mark.verified_to,
            resumed_at=self._resumed_at,
        )

    @property
    def gaps_filled(self) -> int:
        """Maximal runs of missing slots of which none is missing any more."""
        return self._counts.gaps - self._counts.open_gaps

    def _advance(self) -> None:
        """Count what has ended, oldest first, and move the mark up to the first slot that is not verified."""
        while self._open:
            name, held = next(iter(self._open.items()))
            if held.outcome is None:
                break
            del self._open[name]
            count = self._count_bridge if held.is_bridge else self._count
            count(held.page, held.outcome)
        verified_to = self._verified_to()
        while self._pieces and self._pieces[0][0] <= verified_to:
            _, duplicates, malformed = self._pieces.popleft()
            self._counts.duplicates += duplicates
            self._counts.malformed += malformed
        # None of them reaches over it: a page begins there, or a piece ends.
        while self._resting and self._resting[0][0].start < verified_to:
            self._count_resting(*self._resting.popleft())
        if not self._failed:
            self._counts.verified_to = verified_to
            self.mark = self._counts.model_copy()

    def _verified_to(self) -> int:
        if self._open and not (oldest := next(iter(self._open.values()))).is_bridge:
            return oldest.page.interval.start
        carried = self.ascent.carried
        return self.audited_to if carried is None else min(carried, self.audited_to)

    def _count_resting(self, gap: Gap, is_confirmed: bool) -> None:
        """Count slots without a candle that are not asked for."""
        counts = self._counts
        if is_confirmed:
            counts.confirmed_empty += gap.count
        else:
            counts.missing += gap.count
            counts.unresolved += gap.count
            counts.gaps += 1
            counts.open_gaps += 1

    def _count(self, page: Page, outcome: PageOutcome) -> None:
        counts = self._counts
        step = self.series.timeframe.step_ms
        asked = Intervals.of_gaps(page.gaps, step)
        left, confirmed = asked, NOTHING
        if outcome.unresolved is not None:
            left = intervals_of(outcome.unresolved, step) & asked
            confirmed = intervals_of(outcome.confirmed, step) & asked
        # Could not be asked: nothing is known about what is missing still.
        self._failed = self._failed or bool(outcome.error and left)
        absent = left | confirmed
        for gap, interval in zip(page.gaps, asked, strict=True):
            # A run that goes on from the page before is one gap.
            if counts.gap_end is None or gap.start != counts.gap_end + step:
                counts.gaps += 1
                counts.gap_open = False
            counts.gap_end = gap.end
            if not counts.gap_open and absent & interval:
                counts.open_gaps += 1
                counts.gap_open = True
        counts.missing += page.missing
        counts.filled += page.missing - absent.size(step)
        counts.confirmed_empty += confirmed.size(step)
        counts.unresolved += left.size(step)
        self._count_answer(outcome)

    def _count_bridge(self, page: Page, outcome: PageOutcome) -> None:
        """Count what became of slots that have been counted as unresolved."""
        if outcome.unresolved is not None:
            step = self.series.timeframe.step_ms
            asked = Intervals.of_gaps(page.gaps, step)
            left = intervals_of(outcome.unresolved, step) & asked
            confirmed = intervals_of(outcome.confirmed, step) & asked
            self._count_settled(page.missing - left.size(step), confirmed.size(step))
        self._count_answer(outcome)

    def _count_settled(self, settled: int, confirmed: int) -> None:
        """Count so many unresolved slots as settled, that many of them as confirmed; what others took away as none."""
        counts = self._counts
        settled = min(max(0, settled), counts.unresolved)
        confirmed = min(max(0, confirmed), settled)
        counts.unresolved -= settled
        counts.confirmed_empty += confirmed
        counts.filled += settled - confirmed

    def _count_answer(self, outcome: PageOutcome) -> None:
        counts = self._counts
        counts.mismatched += outcome.mismatched
        counts.repaired += outcome.repaired
        counts.requests += outcome.requests
        counts.note(outcome.error)
