"""The audit: reads a long series exactly, a page of members at a time, oldest first."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler_engine.detection import detect_gaps
from reconciler_engine.market.gap import Gap
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.outages import Outages

AUDIT_SLOTS = 1_000
"""Slots read at a time, one read in flight: other clients of the server wait no longer than for a scan's pipeline."""

EMPTY_SLOTS = 64 * PAGE_SLOTS
"""Slots of an outage taken at a time, which need no read: it bounds the pages that are planned ahead."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stretch lacks.

    Attributes:
        interval: The stretch.
        gaps: Maximal runs of slots without a candle, ascending.
        duplicates: Open times that several candles share.
        malformed: Number of members that are no candle of the series.
    """

    interval: Interval
    gaps: tuple[Gap, ...] = ()
    duplicates: tuple[int, ...] = ()
    malformed: int = 0


class Audit:
    """Reads one series' closed slots from `interval.start` on.

    Outages are found by counting first: what holds no member at all need not be read. Everything else is read, member
    by member; a count never calls anything complete.
    """

    def __init__(self, store: CandleStore, outages: Outages, series: Series, interval: Interval) -> None:
        self._store = store
        self._outages = outages
        self._series = series
        self._interval = interval
        self._position = interval.start
        self._empty: list[Interval] | None = None

    async def read_next(self) -> Piece | None:
        """Return the next stretch, or None after the last one.

        Raises:
            StoreError: The series cannot be read.
        """
        if self._position >= self._interval.stop:
            return None
        step = self._series.timeframe.step_ms
        if self._empty is None:
            self._empty = (await self._outages.find(self._series, self._interval))[::-1]
        while self._empty and self._empty[-1].stop <= self._position:
            self._empty.pop()
        ahead = self._empty[-1] if self._empty else Interval(self._interval.stop, self._interval.stop)
        if ahead.start <= self._position:
            piece = _empty_piece(Interval(self._position, min(ahead.stop, self._position + EMPTY_SLOTS * step)), step)
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
        gaps = detect_gaps(read.timestamps, interval.grid(self._series.timeframe.step_ms))
        return Piece(interval, tuple(gaps), tuple(read.duplicates), len(read.malformed))


def _empty_piece(interval: Interval, step: int) -> Piece:
    grid = interval.grid(step)
    return Piece(interval, (Gap(grid[0], grid[-1], len(grid)),) if grid else ())
