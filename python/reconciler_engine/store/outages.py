"""Outages: intervals of a series without a single member, found by counting.

Counting proves that nothing is there where it gives zero, and proves nothing else: a duplicate hides a hole. So no
interval is ever called complete by it.
"""

from __future__ import annotations

from typing import Final

from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.store.client.reply_shapes import understanding, whole
from reconciler_engine.store.client.trio_redis import all_served
from reconciler_engine.store.scoped import Scoped

CHUNK_SLOTS: Final = 4_096
LEAF_SLOTS: Final = 512
"""Outages are looked for in chunks of 4,096 slots, and in those that lack members in eighths of them."""

_COMMANDS: Final = 500


class Outages(Scoped):
    """Finds outages of one scope's series."""

    async def count(self, series: Series, interval: Interval) -> int:
        """Return the number of members in an interval, of any form.

        Raises:
            StoreError: The key is not a sorted set, or Redis did not answer.
        """
        (count,) = await self._counts(series, [interval])
        return count

    async def find(self, series: Series, interval: Interval) -> Intervals:
        """Return the slots of the interval that hold no member at all.

        Every run of twice `LEAF_SLOTS` empty slots shows; of its two ends up to `LEAF_SLOTS` - 1 slots may be left out.
        A year of 1m bars takes at most 5 round trips of 500 counts.

        Raises:
            StoreError: As `count`.
        """
        step = series.timeframe.step_ms
        level = [interval] if interval else []
        empty: list[Interval] = []
        for slots in (CHUNK_SLOTS, LEAF_SLOTS, 0):
            counts = await self._counts(series, level)
            lacking = []
            for part, count in zip(level, counts, strict=True):
                if count == 0:
                    empty.append(part)
                elif slots and count < len(part.grid(step)):
                    lacking.append(part)
            level = [half for part in lacking for half in part.parts(slots * step)] if slots else []
        return Intervals(empty)

    async def _counts(self, series: Series, parts: list[Interval]) -> list[int]:
        key = self._scope.candle_key(series)
        counts: list[int] = []
        for first in range(0, len(parts), _COMMANDS):
            replies = await self._client.pipe(
                [("ZCOUNT", key, part.start, f"({part.stop}") for part in parts[first : first + _COMMANDS]]
            )
            with understanding("the number of members"):
                counts += map(whole, all_served(replies))
        return counts
