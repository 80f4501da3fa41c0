"""Repair: pages asked and merged at the pace of the request budget, by real workers over real sockets.

Workload: dense products in 1m, whose keys lack whole pages (300 slots), outages (40) and single bars, spread so that no
page covers two of them by chance alone. A simulated exchange whose own limit is lifted; two worker processes as the
supervisor starts them; one pass over the range.

    pace       requests / rate: what the budget allows. The bucket starts empty
    took       from the exchange's first answer about candles to the end of the pass, which follows the last merge

Goals: took <= 1.05x pace for 1,000 pages at 30/s, and for 150 at 5/s. Timed, and as a test (60 pages at 60/s) alike, it
is asserted that the requests are the fewest that cover the missing slots, that none spans over 300 slots, that no slot
is asked twice, that the budget was kept by the exchange's log, and that every slot was filled.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random

import trio
from benches.feeder_members import feeder_pairs

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.simulator.rules.exchange import ExchangeRules
from reconciler_engine.simulator.rules.request_log import RequestLog, RequestRecord
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.supervisor.running_child import RunningChild

STEP = Timeframe.M1.step_ms
PAGE = 300
PRODUCTS = (
    "BTC-USD",
    "ETH-USD",
    "SOL-USD",
    "XRP-USD",
    "DOGE-USD",
    "ADA-USD",
    "LINK-USD",
    "LTC-USD",
    "AVAX-USD",
    "DOT-USD",
)
STOP = 1_763_800_020_000
# Pages, and the budget as (requests, per so many milliseconds).
TIMED = [(1_000, (30, 1_000)), (150, (5, 1_000))]
QUICK = [(20, (6, 100))]
WORKERS = 2
# A permit may be used this late, and an answer takes its time: two requests may come this much closer.
SLACK_S = 0.5


@dataclass(frozen=True)
class Damage:
    """Missing slots by series, and the range that holds them all."""

    missing: dict[Series, list[int]]
    interval: Interval

    @property
    def slots(self) -> int:
        return sum(map(len, self.missing.values()))

    @property
    def fewest_pages(self) -> int:
        """By the plainest means: from the oldest slot on, each page as long as may be."""
        pages = 0
        for slots in self.missing.values():
            covered = -1
            for at in slots:
                if at > covered:
                    pages += 1
                    covered = at + (PAGE - 1) * STEP
        return pages


def make_damage(pages: int) -> Damage:
    random = Random(5)
    missing: dict[Series, list[int]] = {Series(symbol, Timeframe.M1): [] for symbol in PRODUCTS}
    longest = 0
    for series, share in zip(missing, shares(pages, len(missing)), strict=True):
        at = 1
        for number in range(share):
            length = (PAGE, 40, 1)[number % 3]
            missing[series] += range(at, at + length)
            at += length + PAGE + random.randrange(50)
        longest = max(longest, at)
    start = STOP - longest * STEP
    placed = {series: [start + slot * STEP for slot in slots] for series, slots in missing.items()}
    return Damage(placed, Interval(start, STOP))


def shares(total: int, parts: int) -> Iterator[int]:
    return (total // parts + (part < total % parts) for part in range(parts))


async def fill(client: TrioRedis, config: ReconciliationConfig, damage: Damage, market: Market) -> None:
    """Put the market's candle in every slot of the range that is not missing."""
    grid = damage.interval.grid(STEP)
    for series, missing in damage.missing.items():
        key = f"candles:{config.user_id}:{config.exchange_id}:{series.symbol}:{series.timeframe.value}"
        present = sorted(set(grid).difference(missing))
        for first in range(0, len(present), 1_000):
            part = present[first : first + 1_000]
            bars = market.bars(series.symbol, series.timeframe, Interval(part[0], part[-1] + STEP), STOP)
            wanted = frozenset(part)
            candles = (
                Candle(start, float(open_), float(high), float(low), float(close), float(volume))
                for start, open_, high, low, close, volume in sorted(bars)
                if start in wanted
            )
            await client.execute_command("ZADD", key, *feeder_pairs(series, candles))


@asynccontextmanager
async def workers(make_worker_spec, config: ReconciliationConfig, redis_url: str):
    async with AsyncExitStack() as stack:
        for number in range(WORKERS):
            child = await RunningChild.start(make_worker_spec(f"worker-{number}", config, redis_url))
            stack.push_async_callback(child.kill)
        yield


def check_log(records: Sequence[RequestRecord], burst: int, per_s: float) -> None:
    """The exchange's view of the pass: every request allowed, none too long, no slot twice, the pace kept."""
    asked: dict[str, list[tuple[int, int]]] = {}
    for record in records:
        assert record.status == 200
        assert isinstance(record.start, int)
        assert isinstance(record.end, int)
        # The wire's end is the page's stop less a second.
        span = (record.start * 1_000, (record.end + 1) * 1_000)
        assert 0 < span[1] - span[0] <= PAGE * STEP
        asked.setdefault(str(record.product), []).append(span)
    for spans in asked.values():
        spans.sort()
        assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(spans))
    times = [record.time_ms / 1_000 for record in records]
    for first, last in itertools.combinations(range(0, len(times), 5), 2):
        assert last - first + 1 <= burst + per_s * (times[last] - times[first] + SLACK_S)


async def repair(redis_url: str, make_worker_spec, pages: int, batch: tuple[int, int]) -> float:
    """Run a pass over damage of so many pages; return the seconds it took."""
    batch_size, batch_delay_ms = batch
    damage = make_damage(pages)
    assert damage.fewest_pages == pages
    log = RequestLog()
    rules = ExchangeRules(public_rate=0)
    exchange = build_exchange(SimulatorSettings(rules=rules), log)
    async with open_exchange(exchange) as base_url:
        config = ReconciliationConfig.check(
            {
                "base_url": base_url,
                "symbols": PRODUCTS,
                "timeframes": ("1m",),
                "max_candles": 0,
                "batch_size": batch_size,
                "batch_delay_ms": batch_delay_ms,
            }
        )
        async with (
            open_parts(config, redis_url, owns_server=False) as parts,
            workers(make_worker_spec, config, redis_url),
        ):
            await parts.client.execute_command("FLUSHALL")
            await parts.queue.create_groups()
            await fill(parts.client, config, damage, exchange.market)
            result = await parts.reconciler.run_pass(PassRequest("repair", list(damage.missing), damage.interval))
            ended = time.time()
            again = await parts.reconciler.run_pass(
                PassRequest("check", list(damage.missing), damage.interval, repair=False)
            )
    candles = [record for record in log.records if record.granularity is not None]
    assert (result.missing, result.filled, result.unresolved, result.errors) == (damage.slots, damage.slots, 0, ())
    assert (len(candles), result.requests) == (pages, pages)
    assert (again.missing, again.requests) == (0, 0)
    check_log(candles, batch_size, batch_size * 1_000 / batch_delay_ms)
    return ended - candles[0].time_ms / 1_000


def test_repair(redis_url, comparison, make_worker_spec):
    for pages, batch in TIMED if comparison.is_timed else QUICK:
        took = trio.run(repair, redis_url, make_worker_spec, pages, batch)
        pace = pages * batch[1] / batch[0] / 1_000
        comparison.tell(
            f"repair of {pages} pages, {batch[0]} per {batch[1]} ms: {pages} requests, "
            f"pace {pace:.2f} s, took {took:.2f} s, x {took / pace:.3f}"
        )
