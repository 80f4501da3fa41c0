"""The simulation's feeder: writes the cache exactly as the real websocket feeder does, and loses some of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from reconciler_engine.engine.simulated_feeder.losses import FeedEvent, FeedLosses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.bar import Bar
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.feeder_writes import Client, FeederWrites
from reconciler_engine.store.scope import Scope

# A step of the loop looks back over at most so many bars a series, should the clock have jumped.
_BACKLOG_BARS = 1000


@dataclass(frozen=True, slots=True)
class FeederSettings:
    """What the feeder writes.

    Attributes:
        series: What it subscribed to.
        scope: Whose keys and channels.
        losses: What it loses.
        interval_ms: Real time between two updates of the open bars.
        max_candles: Members a key is cut to by each write; 0 cuts nothing.
        ttl_s: Life each write gives a key; 0 gives none.
        unsequenced: Timeframes whose candles it builds itself: these carry no sequence number.
    """

    series: Sequence[Series]
    scope: Scope
    losses: FeedLosses = field(default_factory=FeedLosses)
    interval_ms: int = 1_000
    max_candles: int = 1_000
    ttl_s: int = 86_400
    unsequenced: frozenset[Timeframe] = frozenset({Timeframe.M1})


class Message(NamedTuple):
    """A candle that came over the feed; `closed` is set on the last one of a bar."""

    series: Series
    bar: Bar
    closed: bool


def hear(losses: FeedLosses, market: Market, series: Series, since: int, now: int) -> list[Message]:
    """Return the messages of a series that arrive in `(since, now]` (ms UTC), the last state of each bar only.

    A bar that is lost is not among them; one that is cut comes in the state in which it was last heard of.
    """
    step_ms = series.timeframe.step_ms
    first = max(series.timeframe.floor(since), series.timeframe.floor(now) - _BACKLOG_BARS * step_ms)
    messages = []
    for start in range(first, now + 1, step_ms):
        until = losses.heard_until(series, start)
        seen = min(now, until)
        if seen <= max(since, start):
            continue
        bars = market.bars(series.symbol, series.timeframe, Interval(start, start + 1), seen)
        messages += [Message(series, bar, closed=seen == start + step_ms) for bar in bars]
    return messages


def take_snapshot(losses: FeedLosses, market: Market, series: Series, now: int) -> list[Bar]:
    """Return the candles of the snapshot that a subscription at `now` (ms UTC) brings, oldest first."""
    newest = series.timeframe.floor(now)
    window = Interval(max(0, newest - (losses.snapshot_slots - 1) * series.timeframe.step_ms), now + 1)
    bars = {bar.start: bar for bar in market.bars(series.symbol, series.timeframe, window, now)}
    return [bars[start] for start in losses.choose_snapshot(series, list(bars), now)]


def write_member(series: Series, bar: Bar, sequence: int | None) -> str:
    """Return the JSON member of a candle, with numbers as JavaScript writes them."""
    numbered = "" if sequence is None else f',"sequenceNum":{sequence}'
    return (
        f'{{"timestamp":{bar.start},"open":{bar.open},"high":{bar.high},"low":{bar.low},"close":{bar.close},'
        f'"volume":{bar.volume},"symbol":"{series.symbol}","timeframe":"{series.timeframe.value}"{numbered}}}'
    )


class Feeder:
    """A feed connection and the writes it leads to.

    Args:
        redis: Where it writes; stays the caller's.
        market: What happens at the exchange.
        clock: The exchange's time.
        settings: What is written and what is lost.
        report: Told of connections and disconnections.
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
        self._clock = clock
        self._settings = settings
        self._report = report
        self._sequence = 0
        self._heard: int | None = None
        self._connected: bool | None = None

    async def run(self) -> None:
        """Feed until cancelled: a snapshot first, then updates of the open bars once an interval.

        A cancelled feeder leaves the write it was at half done, as the real one does.

        Raises:
            StoreError: A write failed; the connection to the exchange is as good as lost, start another feeder.
        """
        while True:
            await self.step()
            await trio.sleep(self._settings.interval_ms / 1000)

    async def step(self) -> None:
        """Write what arrived since the last step; connect first if there is no connection and no outage.

        The first step always connects, so that a newcomer's cache is not empty.
        """
        now = self._clock.now()
        outage = self._settings.losses.find_outage(now)
        if outage is not None and self._connected is not None:
            if self._connected:
                self._connected = False
                self._tell(FeedEvent(now, "disconnected", until=outage.stop))
            return
        if not self._connected or self._heard is None:
            await self._connect(now)
        else:
            for series in self._settings.series:
                for message in hear(self._settings.losses, self._market, series, self._heard, now):
                    await self._write(message)
        self._heard = now

    async def _connect(self, now: int) -> None:
        """Begin a connection: numbers start again, every series brings a snapshot."""
        self._sequence = 0
        count = 0
        for series in self._settings.series:
            bars = take_snapshot(self._settings.losses, self._market, series, now)
            count += len(bars)
            await self._write_snapshot(series, bars)
        self._connected = True
        self._tell(FeedEvent(now, "connected", candles=count))

    async def _write_snapshot(self, series: Series, bars: Sequence[Bar]) -> None:
        members = [(bar.start, write_member(series, bar, self._next_sequence(series))) for bar in bars]
        await self._writes.write_snapshot(series, members)

    async def _write(self, message: Message) -> None:
        """Write one candle as the real feeder does."""
        series, bar, closed = message
        member = write_member(series, bar, self._next_sequence(series))
        await self._writes.write(series, bar.start, member, closed=closed)

    def _next_sequence(self, series: Series) -> int | None:
        """Count a message of this connection; return its number if the candle carries one."""
        self._sequence += 1
        return None if series.timeframe in self._settings.unsequenced else self._sequence

    def _tell(self, event: FeedEvent) -> None:
        if self._report is not None:
            self._report(event)
