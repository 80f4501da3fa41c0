"""The second look of a backfill: pages over slots that were asked for in vain."""

from __future__ import annotations

from reconciler_engine.engine.backfill.reader import RangeReader
from reconciler_engine.engine.backfill.slot_counts import SlotCounts
from reconciler_engine.market.interval import NOTHING, Intervals
from reconciler_engine.planning.bridges import can_bridge
from reconciler_engine.planning.pages import PAGE_SLOTS, Page, PageStream, keep_whole


class SecondLook:
    """Reads a series once more, and lays the fewest pages over slots that were asked for in vain, oldest first.

    Intervals that one answer cannot prove, even with candles on both sides, are left out.

    Args:
        reader: Reads the series, from the first slot of the range on.
        now: The instant (ms UTC) that it reads for.
        closed: First open time (ms UTC) that had not closed by then.
        step: The grid's step (ms).
    """

    def __init__(self, reader: RangeReader, now: int, closed: int, step: int) -> None:
        self._reader = reader
        self._now = now
        self._closed = closed
        self._step = step
        # With room for a neighbour on each side.
        self._pages = PageStream(step, PAGE_SLOTS - 2, keep_whole)
        self._cut = NOTHING
        self._is_over = False
        self.counts = SlotCounts()
        """Slots without a candle that were read so far."""

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
        # The next read may tell that the last interval goes on.
        missing = self._cut | reading.resting
        self._cut = Intervals(missing[-1:])
        return self._lay(missing - self._cut)

    def _lay(self, missing: Intervals) -> list[Page]:
        provable = [one for one in missing if can_bridge(one, self._now, self._closed, self._step)]
        return self._pages.add(provable, missing.hull.stop) if missing else []
