"""The habits of the real feeder for thousands of series: each bar once, a minute's writes in a few round trips.

15m, 1h, 4h and 1d bars are written as they have just opened, and never again. Of 1m bars some are lost and some are
partial, of 5m bars some are cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.worlds.simulated_time import SimulatedTime

from reconciler_engine.engine.simulated_feeder.feed import Written, write_member
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.market import Bar, Market
from reconciler_engine.store.client.trio_redis import TrioRedis, all_served
from reconciler_engine.store.scope import Scope

STREAMED: Final = frozenset({Timeframe.M1, Timeframe.M5})
_MINUTE: Final = 60_000
_AFTER_MS: Final = 1_000
_AT_ONCE: Final = 2_000


@dataclass
class BulkFeed:
    """A feeder of many series.

    Attributes:
        lost_per_mille: Share of 1m bars that are not written.
        cut_per_mille: Share of 1m and 5m bars that are written without a part of their volume.
        streamed: Timeframes whose bars are written when they have closed; those of all others as they have just opened.
        lost: Slots that were not written and are still empty, with the instant at which each was due (ms UTC).
        filled_after: Times from that instant to the first look that found a candle (ms), of the others.
    """

    redis: TrioRedis
    scope: Scope
    market: Market
    series: Sequence[Series]
    time: SimulatedTime
    lost_per_mille: int = 10
    cut_per_mille: int = 30
    streamed: Collection[Timeframe] = STREAMED
    lost: dict[tuple[Series, int], int] = field(default_factory=dict)
    filled_after: list[int] = field(default_factory=list)

    async def fill(self, bars: int) -> None:
        """Write the newest closed bars of every series as the exchange has them, and the open ones as they are kept."""
        now = self.time.now()
        for series in self.series:
            step, stop = series.timeframe.step_ms, series.timeframe.floor(now)
            there = [*self.market.bars(series.symbol, series.timeframe, Interval(stop - bars * step, stop), now)]
            opened = stop + _AFTER_MS if series.timeframe not in self.streamed else stop
            there += self.market.bars(series.symbol, series.timeframe, Interval(stop, stop + 1), opened)
            await self._write((series, bar) for bar in there)

    async def run(self) -> None:
        """Feed once a minute, until cancelled."""
        while True:
            now = self.time.now()
            minute = now // _MINUTE * _MINUTE + _MINUTE
            await self.time.sleep_until(minute + _AFTER_MS)
            await self._write(self._heard(minute))
            await self._look_for_lost()

    def _heard(self, minute: int) -> Iterator[tuple[Series, Bar]]:
        """Yield what is written at the beginning of a minute."""
        for series in self.series:
            step = series.timeframe.step_ms
            if minute % step:
                continue
            if series.timeframe in self.streamed:
                start = minute - step
                draw = _draw(series, start)
                if series.timeframe is Timeframe.M1 and draw < self.lost_per_mille:
                    self.lost[series, start] = minute
                    continue
                until = minute - step // 3 if 1_000 - draw <= self.cut_per_mille else minute
            else:
                start, until = minute, minute + _AFTER_MS
            for bar in self.market.bars(series.symbol, series.timeframe, Interval(start, start + 1), until):
                yield series, bar

    async def _write(self, bars: Iterable[tuple[Series, Bar]]) -> None:
        commands: list[tuple[Any, ...]] = []
        for series, bar in bars:
            key = self.scope.candle_key(series)
            commands.append(("ZREMRANGEBYSCORE", key, bar.start, bar.start))
            commands.append(("ZADD", key, bar.start, write_member(Written(series, bar))))
            if len(commands) >= _AT_ONCE:
                all_served(await self.redis.pipe(commands))
                commands.clear()
        all_served(await self.redis.pipe(commands))

    async def _look_for_lost(self) -> None:
        """Take note of the lost slots that hold a candle by now."""
        asked = list(self.lost.items())
        counts = await self.redis.pipe([("ZCOUNT", self.scope.candle_key(one), at, at) for (one, at), _ in asked])
        for (slot, due), count in zip(asked, all_served(counts), strict=True):
            if count:
                del self.lost[slot]
                self.filled_after.append(self.time.now() - due)


def _draw(series: Series, start: int) -> int:
    """Return a number below a thousand."""
    return int.from_bytes(hashlib.blake2b(f"{series}:{start}".encode(), digest_size=4).digest()) % 1_000
