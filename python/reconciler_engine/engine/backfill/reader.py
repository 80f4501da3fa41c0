"""The audit: reads a long series and what is known of it, a page of members at a time, oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler_engine.detection import detect_gaps
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.absent_slots import sort_absent
from reconciler_engine.planning.bridges import can_bridge
from reconciler_engine.planning.page_stream import joined
from reconciler_engine.planning.pages import PAGE_SLOTS, Page
from reconciler_engine.planning.proof import Listing
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.evidence import EvidenceStore
from reconciler_engine.store.listings import note_listing
from reconciler_engine.store.outages import Outages
from reconciler_engine.store.retention import Retention

AUDIT_SLOTS = 1_000
"""Slots read at a time, one read in flight: other clients of the server wait no longer than for a scan's pipeline."""

EMPTY_SLOTS = 64 * PAGE_SLOTS
"""Slots of an outage taken at a time, which need no read: it bounds the pages that are planned ahead."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stretch lacks.

    Attributes:
        interval: The stretch.
        gaps: Runs of missing slots that are worth a request, ascending.
        waiting: Runs of missing slots of which no answer could prove anything yet: they were asked for just now.
        confirmed: Runs of slots that are confirmed to have no candle. A backfill asks for none of them; passes look
            again at those that are young.
        duplicates: Open times that several candles share.
        malformed: Number of members that are no candle of the series.
    """

    interval: Interval
    gaps: tuple[Gap, ...] = ()
    waiting: tuple[Gap, ...] = ()
    confirmed: tuple[Gap, ...] = ()
    duplicates: tuple[int, ...] = ()
    malformed: int = 0


class RangeReader:
    """Reads one series' closed slots from `interval.start` on, as they stand at `now` (ms UTC).

    Outages are found by counting first: what holds no member at all need not be read. Everything else is read, member
    by member; a count never calls anything complete. What lies outside the product's listing is noted in the ledger,
    with a `retention`; without one nothing is written.
    """

    def __init__(
        self,
        store: CandleStore,
        evidence: EvidenceStore,
        outages: Outages,
        series: Series,
        interval: Interval,
        now: int,
        listing: Listing,
        retention: Retention | None,
    ) -> None:
        self._store = store
        self._evidence = evidence
        self._outages = outages
        self._series = series
        self._step = series.timeframe.step_ms
        self._interval = interval
        self._now = now
        self._listing = listing
        self._retention = retention
        self._position = interval.start
        self._empty: list[Interval] | None = None

    async def read_next(self) -> Piece | None:
        """Return the next stretch, or None after the last one.

        Raises:
            StoreError: The series cannot be read.
        """
        if self._position >= self._interval.stop:
            return None
        step = self._step
        if self._empty is None:
            self._empty = list(reversed(await self._outages.find(self._series, self._interval)))
        while self._empty and self._empty[-1].stop <= self._position:
            self._empty.pop()
        ahead = self._empty[-1] if self._empty else Interval(self._interval.stop, self._interval.stop)
        if ahead.start <= self._position:
            piece = await self._sort_out(Interval(self._position, min(ahead.stop, self._position + EMPTY_SLOTS * step)))
        else:
            stop = min(ahead.start, self._interval.stop, self._position + AUDIT_SLOTS * step)
            piece = await self._read(Interval(self._position, stop))
        self._position = piece.interval.stop
        return piece

    async def _read(self, interval: Interval) -> Piece:
        (read,) = await self._store.read([(self._series, interval)])
        if read.error is not None:
            raise read.error
        if read.is_whole:
            return Piece(interval)
        gaps = detect_gaps(read.timestamps, interval.grid(self._step))
        piece = await self._sort_out(interval, Intervals.of_gaps(gaps, self._step))
        return replace(piece, duplicates=tuple(read.duplicates), malformed=len(read.malformed))

    async def _sort_out(self, interval: Interval, absent: Intervals | None = None) -> Piece:
        """Tell apart what the ledger knows of a stretch's slots without a candle; by default all of it is without."""
        if absent is None:
            absent = Intervals((interval.slots(self._step),))
        if not absent:
            return Piece(interval)
        (known,) = await self._evidence.read([(self._series, interval)])
        if known.error is not None:
            raise known.error
        ledger = await note_listing(
            self._evidence, self._series, absent, known.ledger, self._listing, self._now, self._retention
        )
        standing = sort_absent(absent, ledger, self._now)
        wanted = standing.missing & standing.due
        return Piece(
            interval,
            wanted.gaps(self._step),
            (standing.missing - wanted).gaps(self._step),
            standing.confirmed.gaps(self._step),
        )


class SecondLook:
    """Reads a series once more, and lays the fewest pages over the runs that were asked for in vain, oldest first.

    Left out is what one answer cannot prove, even with candles on both sides.

    Args:
        audit: Reads the series, from the first slot of the range on.
        now: The instant (ms UTC) that it reads for.
        closed: First open time (ms UTC) that had not closed by then.
        step: The grid's step (ms).
    """

    def __init__(self, audit: RangeReader, now: int, closed: int, step: int) -> None:
        self._audit = audit
        self._now = now
        self._closed = closed
        self._step = step
        self._held: list[Gap] = []
        self._cut: tuple[Gap, ...] = ()
        self._unresolved = self._confirmed = 0
        self._is_over = False

    @property
    def unproven(self) -> tuple[int, int]:
        """Slots read so far that are unresolved, and those confirmed to have no candle."""
        return self._unresolved, self._confirmed

    async def read_next(self) -> list[Page] | None:
        """Return the pages that the next stretch makes final, or None after the last one.

        Raises:
            StoreError: The series cannot be read.
        """
        if self._is_over:
            return None
        piece = await self._audit.read_next()
        if piece is None:
            self._is_over = True
            return [*self._lay(self._cut), *self._take()]
        self._unresolved += sum(gap.count for gap in (*piece.gaps, *piece.waiting))
        self._confirmed += sum(gap.count for gap in piece.confirmed)
        # The next read may tell that the last run goes on.
        runs = joined([*self._cut, *piece.waiting], self._step)
        self._cut = runs[-1:]
        return self._lay(runs[:-1])

    def _lay(self, runs: Sequence[Gap]) -> list[Page]:
        """Return the pages that these runs leave no room in; none of them cuts a run."""
        pages: list[Page] = []
        for run in runs:
            if not can_bridge(Interval(run.start, run.end + self._step), self._now, self._closed, self._step):
                continue
            # With a neighbour on each side.
            if self._held and run.end - self._held[0].start > (PAGE_SLOTS - 3) * self._step:
                pages += self._take()
            self._held.append(run)
        return pages

    def _take(self) -> list[Page]:
        held, self._held = tuple(self._held), []
        return [Page(Interval(held[0].start, held[-1].end + self._step), held)] if held else []
