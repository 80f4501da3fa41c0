"""Reads a long range in bounded parts: its candles, the findings on other slots, and pages for a second look."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler_engine.detection import detect_gaps
from reconciler_engine.engine.base_parts import BaseParts
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.planning.answers import closed_slots
from reconciler_engine.planning.bridges import can_bridge
from reconciler_engine.planning.ledger import State
from reconciler_engine.planning.listing import Listing
from reconciler_engine.planning.pages import PAGE_SLOTS, Page, PageStream, keep_whole
from reconciler_engine.planning.states import sort_absent
from reconciler_engine.store.listings import note_listing

READ_SLOTS = 1_000
"""Slots of one read; with one read at a time, other clients of Redis wait no longer than for a scan."""

EMPTY_SLOTS = 64 * PAGE_SLOTS
"""Most slots of an outage in one part; these need no read, but their number bounds the pages planned ahead."""


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """Numbers of slots, or differences of such numbers.

    Attributes:
        unresolved: Number of missing slots.
        confirmed: Number of slots that are confirmed to have no candle.
    """

    unresolved: int = 0
    confirmed: int = 0

    def __add__(self, other: SlotCounts) -> SlotCounts:
        return SlotCounts(self.unresolved + other.unresolved, self.confirmed + other.confirmed)

    def __sub__(self, other: SlotCounts) -> SlotCounts:
        return SlotCounts(self.unresolved - other.unresolved, self.confirmed - other.confirmed)


@dataclass(frozen=True, slots=True)
class Reading:
    """Findings on one part of a range.

    Attributes:
        interval: The slots read.
        due: Missing slots that are worth a request.
        resting: Missing slots that were asked for so recently that a further answer would not prove more.
        confirmed: Slots that are confirmed to have no candle. A backfill does not ask for them; passes ask again for
            the young ones.
        unverified: Candles to compare with the exchange's.
        duplicates: Open times that several candles share.
        malformed: Slots of members that are not candles of the series, one each.
    """

    interval: Interval
    due: Intervals = NOTHING
    resting: Intervals = NOTHING
    confirmed: Intervals = NOTHING
    unverified: Intervals = NOTHING
    duplicates: tuple[int, ...] = ()
    malformed: tuple[int, ...] = ()

    def counts(self, step: int) -> SlotCounts:
        """Return the numbers of missing and of confirmed slots."""
        return SlotCounts(self.due.size(step) + self.resting.size(step), self.confirmed.size(step))


class RangeReader:
    """Reads the closed slots of a series in `interval`, oldest first, and judges them as of `now` (ms UTC).

    Outages are found first, by counts of members: slots without a member need not be read. All others are read member
    by member, since a count cannot prove a part complete. With `writes`, slots outside the product's listing are
    recorded in the ledger. Candles that closed at least `settle_ms` ago are reported if unverified (None reports none),
    and with `is_again` in any case.
    """

    def __init__(
        self,
        parts: BaseParts,
        series: Series,
        interval: Interval,
        now: int,
        listing: Listing,
        settle_ms: int | None,
        *,
        writes: bool = True,
        is_again: bool = False,
    ) -> None:
        self._parts = parts
        self._series = series
        self._step = series.timeframe.step_ms
        self._interval = interval
        self._now = now
        self._listing = listing
        self._retention = parts.retention if writes else None
        self._settle_ms = settle_ms
        self._is_again = is_again and settle_ms is not None
        self._position = interval.start
        self._empty: list[Interval] | None = None

    async def read_next(self) -> Reading | None:
        """Return the next part, or None after the last one.

        Raises:
            StoreError: The series cannot be read.
        """
        if self._position >= self._interval.stop:
            return None
        step = self._step
        if self._empty is None:
            self._empty = list(reversed(await self._parts.outages.find(self._series, self._interval)))
        while self._empty and self._empty[-1].stop <= self._position:
            self._empty.pop()
        ahead = self._empty[-1] if self._empty else Interval(self._interval.stop, self._interval.stop)
        if ahead.start <= self._position:
            empty = Interval(self._position, min(ahead.stop, self._position + EMPTY_SLOTS * step))
            reading = await self._sort_out(empty, Intervals((empty.slots(step),)))
        else:
            stop = min(ahead.start, self._interval.stop, self._position + READ_SLOTS * step)
            reading = await self._read(Interval(self._position, stop))
        self._position = reading.interval.stop
        return reading

    async def _read(self, interval: Interval) -> Reading:
        step = self._step
        (read,) = await self._parts.store.read([(self._series, interval)], digests=self._settle_ms is not None)
        if read.error is not None:
            raise read.error
        settled = closed_slots(self._now, self._settle_ms or 0, step)
        unverified = Intervals.of_slots(read.unverified, step) & settled
        if read.is_whole and not unverified and not self._is_again:
            return Reading(interval)
        absent = Intervals.of_gaps(detect_gaps(read.timestamps, interval.grid(step)), step)
        if self._is_again:
            unverified = (interval.slots(step) - absent) & settled
        reading = await self._sort_out(interval, absent, unverified)
        return replace(reading, duplicates=tuple(read.duplicates), malformed=tuple(read.malformed))

    async def _sort_out(self, interval: Interval, absent: Intervals, unverified: Intervals = NOTHING) -> Reading:
        """Sort slots without a candle, and slots with an unverified one, by their findings."""
        if not absent and not unverified:
            return Reading(interval)
        (known,) = await self._parts.evidence.read([(self._series, interval)])
        if known.error is not None:
            raise known.error
        ledger = await note_listing(
            self._parts.evidence, self._series, absent, known.ledger, self._listing, self._now, self._retention
        )
        standing = sort_absent(absent, ledger, self._now)
        due = standing.missing & standing.due
        if not self._is_again:
            unverified -= ledger.in_state(interval, State.SUSPECT) | ledger.waiting(interval, self._now)
        return Reading(interval, due, standing.missing - due, standing.confirmed, unverified)


class SecondLook:
    """Reads a series again and lays the fewest pages over its unresolved slots, oldest first.

    Intervals that one answer cannot prove, even with candles on both sides, are left out.

    Args:
        reader: Reader of the series, from the first slot of the range on.
        now: The instant (ms UTC) of the reader.
        closed: First open time (ms UTC) that had not closed at that instant.
        step: The grid's step (ms).
    """

    def __init__(self, reader: RangeReader, now: int, closed: int, step: int) -> None:
        self._reader = reader
        self._now = now
        self._closed = closed
        self._step = step
        # Two slots less than a page, for a neighbour on each side.
        self._pages = PageStream(step, PAGE_SLOTS - 2, keep_whole)
        self._cut = NOTHING
        self._is_over = False
        self.counts = SlotCounts()
        """Numbers of slots without a candle read so far."""

    async def read_next(self) -> list[Page] | None:
        """Return the pages that the next read makes final, or None after the last one.

        Raises:
            StoreError: The series cannot be read.
        """
        if self._is_over:
            return None
        reading = await self._reader.read_next()
        if reading is None:
            self._is_over = True
            return [*self._lay(self._cut), *self._pages.finish()]
        self.counts += reading.counts(self._step)
        # The last interval may continue in the next part.
        missing = self._cut | reading.resting
        self._cut = Intervals(missing[-1:])
        return self._lay(missing - self._cut)

    def _lay(self, missing: Intervals) -> list[Page]:
        provable = [one for one in missing if can_bridge(one, self._now, self._closed, self._step)]
        return self._pages.add(provable, missing.hull.stop) if missing else []
