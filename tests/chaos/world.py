"""The world of a chaos run: the real tree, a real Redis and a simulated exchange, faults before and inside each.

The exchange is a real server on a real socket, in this process, so that its market and its log can be asked.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import trio
from tests.chaos.proxy import Proxy, open_proxy
from tests.chaos.schedule import RULES, Blow, Fault
from tests.chaos.tree import Tree
from tests.chaos.waiting import PATIENCE_S, wait_until
from tests.conftest import OwnServer

from reconciler_engine.errors import StoreError
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.faults.file import parse_faults
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.exchange import Exchange, ExchangeRules
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulated_clock import SimulatedClock
from reconciler_engine.store.client.server_check import wait_serving
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.members import member_of
from reconciler_engine.store.scope import Scope

MINUTE = 60_000
GRACE_MS = 15_000
NEVER = "0 0 1 1 *"
_numbers = itemgetter("open", "high", "low", "close", "volume")
_CHUNK = 1_000
_T = TypeVar("_T")

Values = tuple[float, ...]
Member = Mapping[str, Any]


def dense_product(number: int) -> ListedProduct:
    """A product of which every bar exists."""
    return ListedProduct(f"P{number}-USD", 100.0 + number, 2, 9_000.0)


THIN = ListedProduct("THIN-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Ingredients of a world.

    Attributes:
        series: Series that the engine watches; those of `THIN` lack bars at the exchange, too.
        slots: Closed slots of 1m that a pass looks back; longer timeframes have their share of them.
        requests_per_s: The engine's budget; its burst is the same.
        every_s: Seconds from pass to pass.
        workers: How many there are.
        pages: Whether probes, metrics and pages are served: a process more.
    """

    series: tuple[Series, ...]
    slots: int
    requests_per_s: int
    every_s: int = 1
    workers: int = 2
    pages: bool = True

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of `start`, but for where the servers are: frequent passes over all of it."""
        symbols = dict.fromkeys(one.symbol for one in self.series)
        timeframes = dict.fromkeys(one.timeframe.value for one in self.series)
        return (
            "--symbols", ",".join(symbols), "--timeframes", ",".join(timeframes), "--max-candles", "0", "--ttl", "0",
            "--quick-scan-window-ms", str(self.slots * MINUTE), "--full-reconcile-window-ms", str(self.slots * MINUTE),
            "--gap-scan-cron", f"*/{self.every_s} * * * * *", "--gap-scan-max-run-ms", "20000",
            "--full-reconcile-cron", NEVER, "--batch-size", str(self.requests_per_s), "--workers", str(self.workers),
            *(() if self.pages else ("--listen", "off")),
        )  # fmt: skip

    def window(self, series: Series, now: int) -> Interval:
        """The closed slots that must be right at an instant; one or two that a pass just sees or just left are not."""
        step = series.timeframe.step_ms
        stop = series.timeframe.floor(now - GRACE_MS)
        return Interval(max(stop - self.slots * MINUTE + 2 * step, 0), stop)


@dataclass
class World:
    """One world.

    Attributes:
        own: Redis where the tree was given one; else the tree has the embedded server.
        live: Last candles of each feeder, by slot: one of them must be there at rest.
        flushes: How often Redis was emptied.
        writes: How often feeders wrote.
    """

    plan: Plan
    tree: Tree
    exchange: Exchange
    exchange_proxy: Proxy
    scope: Scope
    client: TrioRedis
    own: OwnServer | None
    redis_proxy: Proxy | None
    exchange_away: trio.Event = field(default_factory=trio.Event)
    away_s: float = 0.0
    live: dict[tuple[Series, int], list[Candle]] = field(default_factory=dict)
    writes: int = 0
    flushes: int = 0
    _truths: dict[Series, tuple[Interval, dict[int, Values]]] = field(default_factory=dict)

    @property
    def dense(self) -> list[Series]:
        """Series that have a candle in every slot."""
        return [one for one in self.plan.series if one.symbol != THIN.symbol]

    def truth(self, series: Series, interval: Interval) -> dict[int, Values]:
        """Return the exchange's bars: values by open time."""
        # The same window is asked for until a bar closes, many times a second.
        known = self._truths.get(series)
        if known is None or known[0] != interval:
            bars = self.exchange.market.bars(series.symbol, series.timeframe, interval, interval.stop + GRACE_MS)
            known = self._truths[series] = interval, {bar.start: tuple(map(float, bar[1:])) for bar in bars}
        return known[1]

    def candle(self, at: int, values: Values, share: float = 1.0, sequence: int | None = None) -> Candle:
        """A candle with a share of its volume, as a feeder has it before its bar is over."""
        open_, high, low, close, volume = values
        return Candle(at, open_, high, low, close, volume * share, sequence)

    async def until_done(self, step: Callable[[], Awaitable[_T]]) -> _T:
        """Do something at Redis as soon as it is there."""
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    return await step()
                except StoreError:
                    await trio.sleep(0.05)

    async def fill(self) -> None:
        """Put every candle of the truth into the cache."""
        for series in self.plan.series:
            pairs: list[str | int] = []
            for at, values in sorted(self.truth(series, self.plan.window(series, self.exchange.clock.now())).items()):
                pairs += (at, member_of(series, self.candle(at, values)))
            for start in range(0, len(pairs), 2 * _CHUNK):
                part = pairs[start : start + 2 * _CHUNK]
                await self.client.execute_command("ZADD", self.scope.candle_key(series), *part)

    async def damage(self, random: Random, holes: int) -> None:
        """Lose so many candles of each dense series, in runs and singly; double some others, break a member."""
        for series in self.dense:
            key = self.scope.candle_key(series)
            window = self.plan.window(series, self.exchange.clock.now())
            grid = window.grid(series.timeframe.step_ms)
            truth = self.truth(series, window)
            lost: set[int] = set()
            while len(lost) < min(holes, len(grid) // 2):
                first, length = random.randrange(len(grid)), random.choice((1, 1, 1, 40, 300))
                lost.update(grid[first : first + length])
                await self.client.zremrangebyscore(key, grid[first], grid[first] + (length - 1) * grid.step)
            there = {one["timestamp"] for one in await self.held(series) if one}
            # Alone in a slot a poorer one would be the live candle, and stay.
            for at in random.sample(sorted(truth.keys() & there), min(3, len(truth.keys() & there))):
                poorer = self.candle(at, truth[at], random.uniform(0.1, 0.9))
                await self.client.zadd(key, {member_of(series, poorer): at})
            await self.client.zadd(key, {'{"no candle"': random.choice(sorted(lost))})

    async def feed(self, random: Random, slots: int, lasts_s: float, first: int = 0) -> None:
        """Write as the real feeder does, remove, then add, on slots the engine looks at; the last update is whole.

        With `first` two feeders number their messages apart.
        """
        series = self.dense[0]
        key = self.scope.candle_key(series)
        window = self.plan.window(series, self.exchange.clock.now())
        truth = self.truth(series, window)
        left = {at: random.randrange(1, 6) for at in random.sample(sorted(truth), slots)}
        updates = [at for at, count in left.items() for _ in range(count)]
        random.shuffle(updates)
        for sequence, at in enumerate(updates, first):
            left[at] -= 1
            one = self.candle(at, truth[at], 1 / (1 + left[at]), sequence)
            flushes = self.flushes
            await self.until_done(partial(self.client.zremrangebyscore, key, at, at))
            await self.until_done(partial(self.client.zadd, key, {member_of(series, one): at}))
            self.writes += 1
            # Emptied meanwhile, it may have been before or after that.
            if not left[at] and flushes == self.flushes:
                self.live.setdefault((series, at), []).append(one)
            await trio.sleep(random.uniform(0, 2 * lasts_s / len(updates)))

    async def held(self, series: Series) -> list[Member]:
        """Every member of a series that is JSON, in order; others as `{}`."""
        (found,) = await self.client.pipe([("ZRANGE", self.scope.candle_key(series), 0, -1)])
        if isinstance(found, StoreError):
            raise found
        return [_read(member) for member in found]

    async def inflict(self, blow: Blow, random: Random) -> None:
        """Let a blow fall, and end it when its time is over."""
        match blow.fault:
            case Fault.WORKER_KILL:
                _signal(await self._worker(random), signal.SIGKILL)
            case Fault.WORKER_HANG:
                _signal(await self._worker(random), signal.SIGSTOP)
            case Fault.WORKER_PAUSE:
                await _pause(await self._worker(random), blow.lasts_s)
            case Fault.SUPERVISOR_PAUSE:
                await _pause(await self._supervisor(), blow.lasts_s)
            case Fault.SUPERVISOR_KILL:
                await self.tree.kill()
                await self.tree.start(self.plan.workers)
            case Fault.REDIS_KILL | Fault.REDIS_PAUSE | Fault.REDIS_FLUSH | Fault.REDIS_CLIENTS | Fault.REDIS_TOXIC:
                await self._hurt_redis(blow)
            case _:
                await self._hurt_exchange(blow)

    async def _hurt_redis(self, blow: Blow) -> None:
        match blow.fault:
            case Fault.REDIS_KILL:
                await self._kill_redis(blow.lasts_s)
            case Fault.REDIS_PAUSE:
                await _pause(await self._server(), blow.lasts_s)
            case Fault.REDIS_FLUSH:
                await self.until_done(partial(self.client.execute_command, "FLUSHALL"))
                self.live.clear()
                self.flushes += 1
            case Fault.REDIS_CLIENTS:
                await self.until_done(partial(self.client.execute_command, "CLIENT", "KILL", "TYPE", "normal"))
            case _:
                await self._poison(self.redis_proxy, blow)

    async def _hurt_exchange(self, blow: Blow) -> None:
        match blow.fault:
            case Fault.EXCHANGE_RESTART:
                self.away_s = blow.lasts_s
                self.exchange_away.set()
                await trio.sleep(blow.lasts_s)
            case Fault.EXCHANGE_STORM | Fault.EXCHANGE_WITHHOLDS:
                self.exchange.faults.set(parse_faults({"fault": [RULES[blow.fault][blow.rule]]}))
                await trio.sleep(blow.lasts_s)
                self.exchange.faults.set([])
            case _:
                await self._poison(self.exchange_proxy, blow)

    async def suffer(self, blows: Sequence[Blow], random: Random) -> None:
        """Let blows fall, each at its time; return when all are over."""
        began = trio.current_time()

        async def fall(blow: Blow) -> None:
            await trio.sleep_until(began + blow.at_s)
            await self.inflict(blow, random)

        async with trio.open_nursery() as nursery:
            for blow in blows:
                nursery.start_soon(fall, blow)

    async def _worker(self, random: Random) -> int:
        """A worker's process; waited for where the blows before left none."""
        return random.choice(sorted(await wait_until(self.tree.workers, lambda: "a worker")))

    async def _supervisor(self) -> int:
        """The supervisor's process; waited for where another blow has killed it."""
        await wait_until(lambda: self.tree.status is None, lambda: "a supervisor")
        return self.tree.pid

    async def _server(self) -> int:
        """The server's process; waited for where another blow has killed it."""

        return await wait_until(lambda: self.tree.server() if self.own is None else self.own.pid, lambda: "a server")

    async def _kill_redis(self, away_s: float) -> None:
        if self.own is None:
            _signal(await self._server(), signal.SIGKILL)
            return
        self.own.kill()
        await trio.sleep(away_s)
        self.own.start()
        await wait_serving(self.client, PATIENCE_S)

    async def _poison(self, proxy: Proxy | None, blow: Blow) -> None:
        assert proxy is not None
        assert blow.toxic is not None
        proxy.set(blow.toxic)
        await trio.sleep(blow.lasts_s)
        proxy.clear()

    async def keep_exchange(self, port: int) -> None:
        """Serve the exchange; whenever it is sent away, end its connections and come back at the same port."""
        while True:
            async with open_exchange(self.exchange, port=port):
                await self.exchange_away.wait()
            self.exchange_away = trio.Event()
            await trio.sleep(self.away_s)


# Most are what they were at the look before, a fifth of a second ago.
@lru_cache(maxsize=10_000)
def _read(member: bytes) -> Member:
    try:
        content = json.loads(member)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def values_of(member: Member) -> Values:
    """A member's numbers."""
    return tuple(map(float, _numbers(member)))


def _signal(pid: int, number: signal.Signals) -> None:
    # Gone since: another blow fell in this instant.
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def _pause(pid: int, lasts_s: float) -> None:
    _signal(pid, signal.SIGSTOP)
    await trio.sleep(lasts_s)
    _signal(pid, signal.SIGCONT)


@asynccontextmanager
async def open_world(plan: Plan, folder: Path, own: OwnServer | None, seed: int = 1) -> AsyncIterator[World]:
    """Open a world whose cache is complete and whose engine is ready; leave no process behind.

    Args:
        plan: Ingredients of the world.
        folder: Where data and logs are.
        own: The Redis the tree is given, behind a proxy; without, the tree has its embedded server.
        seed: Seed of prices and of the proxies' jitter.
    """
    products = [_product(symbol) for symbol in dict.fromkeys(one.symbol for one in plan.series)]
    exchange = Exchange(SeededMarket(seed, products), SimulatedClock(), ExchangeRules(public_rate=0, cache_s=0))
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        port = stack.enter_context(_kept_port())
        exchange_proxy, exchange_at = await stack.enter_async_context(open_proxy(("127.0.0.1", port), seed=seed))
        base_url = f"http://{exchange_at}"
        flags = [*plan.flags, "--base-url", base_url]
        environment: dict[str, str] = {}
        redis_proxy: Proxy | None = None
        if own is not None:
            redis_proxy, redis_at = await stack.enter_async_context(open_proxy(own.plan.socket, seed=seed))
            environment["RECONCILER_REDIS_URL"] = f"redis://{redis_at}"
        tree = Tree(flags, folder, **environment)
        stack.callback(tree.kill_all)
        url = f"unix://{tree.socket}" if own is None else own.url
        client = await stack.enter_async_context(TrioRedis.from_url(url))
        scope = Scope.of(1, 1, base_url)
        world = World(plan, tree, exchange, exchange_proxy, scope, client, own, redis_proxy)
        nursery.start_soon(world.keep_exchange, port)
        if own is not None:
            await world.fill()
        await tree.start(plan.workers)
        if own is None:
            await world.fill()
        yield world


def _product(symbol: str) -> ListedProduct:
    return THIN if symbol == THIN.symbol else dense_product(int(symbol[1:].partition("-")[0]))


@contextmanager
def _kept_port() -> Iterator[int]:
    """A port of loopback that nobody else is given, so that the exchange can come back to it."""
    with socket.socket() as keeper:
        # Bound by both, listened at by one.
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]
