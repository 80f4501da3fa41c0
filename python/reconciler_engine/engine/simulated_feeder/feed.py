"""The feed of the simulation: the candles that the real feeder would write, and when. Pure.

It behaves like the real feeder (feeder.md): it streams 5m bars, builds 1m bars from trades, and fetches longer
timeframes just after their bars open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from reconciler_engine.engine.simulated_feeder.losses import HANDSHAKE_MS, REFUSALS_LIMIT, FeedEvent, FeedLosses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.market import Bar, Market
from reconciler_engine.store.feeder_writes import is_refused

FETCHED = frozenset({Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1})
"""Timeframes fetched by REST, once at each boundary. The feeder does not write 30m, 2h and 6h."""

FETCH_AFTER_MS = 1_000
"""Delay of the fetch after a boundary (ms): row 0 of the answer is then the bar that has just opened."""

# Most bars of a series in one step, in case the clock jumped.
_BACKLOG_BARS = 1_000
_SECOND_MS = 1_000


class Written(NamedTuple):
    """A candle that the feeder writes.

    Attributes:
        series: Series of the candle.
        bar: Values that arrived.
        exchange_at: Time that the exchange put on its message (ms UTC); None for a fetched candle.
        sequence: Sequence number of the message; None for a built or fetched candle.
        closes: Whether the feeder announces a close with it.
    """

    series: Series
    bar: Bar
    exchange_at: int | None = None
    sequence: int | None = None
    closes: bool = False


class Feed:
    """The connection to the market and its losses: yields the candles to write.

    Args:
        market: The exchange's bars.
        series: Series that the feeder keeps.
        losses: Extent of the losses.
    """

    def __init__(self, market: Market, series: Sequence[Series], losses: FeedLosses) -> None:
        self._market = market
        self._losses = losses
        self._streamed = [one for one in series if one.timeframe is Timeframe.M5]
        self._built = [one for one in series if one.timeframe is Timeframe.M1]
        self._fetched = [one for one in series if one.timeframe in FETCHED]
        self._messages_beside = 1 + len({one.symbol for one in series})
        self._fetched_at: int | None = None
        self._heard: int | None = None
        self._number = 0
        self._sockets = 1
        self._refused = 0
        self._next_handshake: int | None = None
        self._connected_at = 0
        self._open: dict[Series, int] = {}
        self._under_way: dict[Series, int] = {}
        self._has_given_up = False

    def advance(self, now: int) -> list[Written | FeedEvent]:
        """Return all candles and events up to `now` (ms UTC), in order; `now` must not go back.

        The first call connects at once, so that the cache does not stay empty.
        """
        found: list[Written | FeedEvent] = []
        if self._heard is None and self._next_handshake is None:
            found += self._connect(now)
        elif self._heard is not None:
            found += self._listen(now)
        if self._next_handshake is not None and not self._has_given_up:
            found += self._reconnect(now)
        found += self._fetch(now)
        return found

    def _listen(self, now: int) -> Iterator[Written | FeedEvent]:
        """Yield candles that arrive until `now`, or until the connection breaks."""
        outage = self._losses.find_outage(now)
        until = now if outage is None else outage.start
        if self._heard is not None and until > self._heard:
            yield from self._build(until)
            yield from self._stream(self._heard, until)
            self._heard = until
        if outage is not None:
            self._next_handshake = (self._heard or until) + HANDSHAKE_MS
            self._heard, self._refused = None, 0
            yield FeedEvent(now, "disconnected", until=outage.stop)

    def _reconnect(self, now: int) -> Iterator[Written | FeedEvent]:
        """Try handshakes until one is accepted, or until the feed gives up for good after too many refusals."""
        while self._next_handshake is not None and self._next_handshake <= now:
            at = self._next_handshake
            if self._losses.find_outage(at) is None:
                if self._refused and self._losses.has_twin(at):
                    self._sockets = 2
                self._next_handshake = None
                yield from self._connect(now)
                return
            self._refused += 1
            if self._refused >= REFUSALS_LIMIT:
                self._has_given_up = True
                yield FeedEvent(at, "gave_up")
                return
            self._next_handshake += HANDSHAKE_MS

    def _connect(self, now: int) -> Iterator[Written | FeedEvent]:
        """Begin a connection: sequence numbers restart, and each streamed series gets a snapshot in one message."""
        self._number, self._heard = 0, now
        self._open.clear()
        self._under_way.clear()
        count = 0
        for series in self._streamed:
            self._number += 1
            bars = take_snapshot(self._losses, self._market, series, now)
            count += len(bars)
            for bar in bars:
                yield Written(series, bar, now, self._number)
            if bars:
                self._open[series] = bars[-1].start
        self._connected_at = now
        yield FeedEvent(now, "connected", candles=count, sockets=self._sockets)

    def _stream(self, since: int, now: int) -> Iterator[Written]:
        """Yield the last state of each 5m bar whose messages came in `(since, now]`.

        Messages of trades and heartbeats come between these and use up sequence numbers, too.
        """
        step_ms = Timeframe.M5.step_ms
        first = max(Timeframe.M5.floor(since), Timeframe.M5.floor(now) - _BACKLOG_BARS * step_ms)
        for start in range(first, now + 1, step_ms):
            heard_at = min(now, start + step_ms)
            if heard_at <= max(since, start):
                continue
            self._number += self._messages_beside + 1
            for series in self._streamed:
                for bar in self._market.bars(series.symbol, Timeframe.M5, Interval(start, start + 1), heard_at):
                    is_next = series in self._open and self._open[series] < start
                    self._open[series] = start
                    yield Written(series, bar, heard_at, self._number, closes=is_next)

    def _build(self, now: int) -> Iterator[Written]:
        """Yield the 1m bars that are complete at `now`, because a trade of a later minute has come."""
        minute = Timeframe.M1
        for series in self._built:
            under_way = self._under_way.get(series, minute.floor(self._connected_at))
            window = Interval(max(under_way, minute.floor(now) - _BACKLOG_BARS * minute.step_ms), now + 1)
            bars = self._market.bars(series.symbol, minute, window, now)
            for bar, follower in pairwise(bars):
                heard = self._heard_part(series, bar)
                if heard is not None and not self._losses.is_lost(series, bar.start):
                    yield Written(series, heard, min(follower.start + _SECOND_MS, now), closes=True)
            if bars:
                self._under_way[series] = bars[-1].start

    def _heard_part(self, series: Series, bar: Bar) -> Bar | None:
        """Return a 1m bar from the trades heard: without those before the connection, and twice with two sockets."""
        missed = []
        if bar.start < self._connected_at:
            window = Interval(bar.start, bar.start + 1)
            missed = self._market.bars(series.symbol, Timeframe.M1, window, self._connected_at)
        heard = without_beginning(bar, missed[0]) if missed else bar
        return heard if heard is None else multiplied(heard, self._sockets)

    def _fetch(self, now: int) -> Iterator[Written]:
        """Yield row 0 of the answers fetched at the boundaries since the last call."""
        since, self._fetched_at = self._fetched_at, now
        if since is None:
            return
        for series in self._fetched:
            step_ms = series.timeframe.step_ms
            first = max(
                series.timeframe.floor(since - FETCH_AFTER_MS), series.timeframe.floor(now) - _BACKLOG_BARS * step_ms
            )
            for boundary in range(first, now - FETCH_AFTER_MS + 1, step_ms):
                if boundary + FETCH_AFTER_MS <= since:
                    continue
                window = Interval(boundary - step_ms, boundary + 1)
                rows = self._market.bars(series.symbol, series.timeframe, window, boundary + FETCH_AFTER_MS)
                yield from (Written(series, bar, closes=True) for bar in rows[-1:])


def earlier_members(
    market: Market, series: Sequence[Series], losses: FeedLosses, lived: Interval
) -> dict[Series, dict[int, str]]:
    """Return the members that a feed running during `lived` would have left, by series and open time."""
    feed = Feed(market, series, losses)
    left: dict[Series, dict[int, str]] = {one: {} for one in series}
    for now in range(lived.start, lived.stop, HANDSHAKE_MS):
        for happened in feed.advance(now):
            if isinstance(happened, Written):
                members, at, member = left[happened.series], happened.bar.start, write_member(happened)
                if not is_refused([members[at]] if at in members else (), member):
                    members[at] = member
    return left


def take_snapshot(losses: FeedLosses, market: Market, series: Series, now: int) -> list[Bar]:
    """Return the candles of the snapshot after a subscription at `now` (ms UTC), oldest first."""
    newest = series.timeframe.floor(now)
    window = Interval(max(0, newest - (losses.snapshot_slots - 1) * series.timeframe.step_ms), now + 1)
    bars = {bar.start: bar for bar in market.bars(series.symbol, series.timeframe, window, now)}
    return [bars[start] for start in losses.choose_snapshot(series, list(bars), now)]


def without_beginning(whole: Bar, beginning: Bar) -> Bar | None:
    """Return the bar of the trades after `beginning`, an earlier state of the same bar; None without such trades.

    A high or low that `beginning` had already is assumed not to have been reached again later.
    """
    volume = Decimal(whole.volume) - Decimal(beginning.volume)
    if volume <= 0:
        return None
    ends = (beginning.close, whole.close)
    high = whole.high if float(whole.high) > float(beginning.high) else max(ends, key=float)
    low = whole.low if float(whole.low) < float(beginning.low) else min(ends, key=float)
    return Bar(whole.start, beginning.close, high, low, whole.close, format(volume, "f"))


def multiplied(bar: Bar, sockets: int) -> Bar:
    """Return the bar built from trades that are each heard `sockets` times."""
    return bar if sockets == 1 else bar._replace(volume=format(Decimal(bar.volume) * sockets, "f"))


def write_member(written: Written) -> str:
    """Return the JSON member of a candle: its fields in the feeder's order, with numbers as JavaScript writes them."""
    series, bar, exchange_at, sequence, _ = written
    built = ',"isSynthetic":false' if series.timeframe is Timeframe.M1 else ""
    stamped = "" if exchange_at is None else f',"exchangeTimestamp":{exchange_at}'
    numbered = "" if sequence is None else f',"sequenceNum":{sequence}'
    return (
        f'{{"timestamp":{bar.start},"open":{bar.open},"high":{bar.high},"low":{bar.low},"close":{bar.close},'
        f'"volume":{bar.volume},"symbol":"{series.symbol}","timeframe":"{series.timeframe.value}"'
        f'{built},"exchange":"coinbase"{stamped}{numbered}}}'
    )
