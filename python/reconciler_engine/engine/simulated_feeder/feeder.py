"""The simulation's feeder: writes to the cache exactly like the real websocket feeder, faults included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from reconciler_engine.engine.simulated_feeder.feed import Feed, Written, earlier_members, write_member
from reconciler_engine.engine.simulated_feeder.losses import FeedEvent, FeedLosses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.feeder_writes import Client, FeederWrites
from reconciler_engine.store.scope import Scope

AWAY_MS = 900_000
"""Time between the end of the imagined earlier feed and the first step (ms)."""


@dataclass(frozen=True, slots=True)
class FeederSettings:
    """Settings of a feeder.

    Attributes:
        series: Series that it keeps.
        scope: Owner of the keys and channels.
        losses: Extent of the losses.
        interval_ms: Real time between two updates of the open bars.
        max_candles: Number of newest members that each write leaves in a key; 0 for no limit.
        ttl_s: Expiry (s) that each write sets on a key; 0 for none.
        earlier_ms: Time before the first step at which an imagined earlier feed began. An empty cache is filled with
            that feed's candles.
    """

    series: Sequence[Series]
    scope: Scope
    losses: FeedLosses = field(default_factory=FeedLosses)
    interval_ms: int = 1_000
    max_candles: int = 1_000
    ttl_s: int = 86_400
    earlier_ms: int = 0


class Feeder:
    """Writes the candles of a feed to Redis.

    Args:
        redis: Client for the writes; the caller closes it.
        market: The exchange's bars.
        clock: The exchange's time.
        settings: Settings of the feeder.
        report: Called when the feed connects, disconnects or gives up.
    """

    def __init__(
        self,
        redis: Client,
        market: Market,
        clock: SimulatedClock,
        settings: FeederSettings,
        report: Callable[[FeedEvent], None] | None = None,
    ) -> None:
        self._writes = FeederWrites(redis, settings.scope, max_candles=settings.max_candles, ttl_s=settings.ttl_s)
        self._market = market
        self._settings = settings
        self._feed: Feed | None = None
        self._clock = clock
        self._interval_s = settings.interval_ms / 1_000
        self._report = report

    async def run(self) -> None:
        """Feed until cancelled: a snapshot first, then updates of the open bars once an interval.

        A cancellation can leave a write half done, as with the real feeder.

        Raises:
            StoreError: A write failed. Start another feeder, since this one has lost candles.
        """
        while True:
            await self.step()
            await trio.sleep(self._interval_s)

    async def step(self) -> None:
        """Write all candles that arrived since the last step."""
        if self._feed is None:
            self._feed = await self._make_feed()
        for happened in self._feed.advance(self._clock.now()):
            if isinstance(happened, Written):
                await self._write(happened)
            elif self._report is not None:
                self._report(happened)

    async def _make_feed(self) -> Feed:
        settings, now = self._settings, self._clock.now()
        # Only an empty cache, so as not to overwrite candles that an engine has repaired.
        if settings.earlier_ms and await self._writes.are_empty(settings.series):
            lived = Interval(now - settings.earlier_ms, now - AWAY_MS)
            left = earlier_members(self._market, settings.series, settings.losses, lived)
            for series, members in left.items():
                await self._writes.fill(series, members)
        return Feed(self._market, settings.series, settings.losses)

    async def _write(self, written: Written) -> None:
        member = write_member(written)
        await self._writes.write(written.series, written.bar.start, member)
        if written.closes:
            await self._writes.announce_close(written.series, member)
