"""Outages: intervals of a series without a single member, found with ZCOUNT.

A result of zero proves that an interval is empty. A full number does not prove that it is complete: a duplicate can
make up for a missing candle.
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
"""Chunks of 4,096 slots are searched first; a chunk that lacks members is searched again in eighths."""

_COMMANDS: Final = 500


class Outages(Scoped):
    """Finds outages of one scope's series."""

    async def count(self, series: Series, interval: Interval) -> int:
        """Return the number of members in an interval, well-formed or not.

        Raises:
            StoreError: The key is not a sorted set, or Redis did not answer.
        """
        (count,) = await self._counts(series, [interval])
        return count

    async def find(self, series: Series, interval: Interval) -> Intervals:
        """Return empty parts of the interval: slots without any member.

        A sequence of at least `2 * LEAF_SLOTS` empty slots is always found, but up to `LEAF_SLOTS - 1` slots at each of
        its ends may be left out. A year of 1m bars takes at most 5 round trips of 500 commands.

        Raises:
            StoreError: As for `count`.
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
