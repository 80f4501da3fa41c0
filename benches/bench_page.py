"""The coverage page beside a pass: what a look at 50 series every five seconds takes from a scan of all.

Workload: the newest 300 bars of 1,000 products in six timeframes (6,000 series, 1.8m members of the feeder's form), all
verified; 50 of them have 1,000. A process of its own draws the page of those, all that is kept, every five seconds as
the web child does for any number of readers; scans read all windows, in tasks of 2,000 members as workers do, one after
the other for ten seconds.

    alone     the scan while that process is stopped
    beside    the same while it runs

Goal: beside <= 1.03x alone, in processor time of the scan and the server (a busy machine does to the clock what it
likes). As a test (2 products, one round) nothing is timed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis as redis_py
import trio
from benches.bench_digests import fill
from benches.bench_scan import SCOPE, TIMEFRAMES, tasks_of
from benches.processor_time import Spent, describe, measure, median

from reconciler_engine.engine.live_picture import LivePicture
from reconciler_engine.engine.tasks.scan import perform_scan
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.evidence import EvidenceStore

BARS, SLOTS, SHOWN, EVERY_S, ROUND_S = 300, 1_000, 50, 5.0, 10.0
SETTINGS = {"base_url": "https://api.coinbase.com"}
STATUS = EngineStatus(
    node="host:1", command="bench", version="1", simulated=False, user_id=1, exchange_id=1, source=SCOPE.source,
    started_at=0, written_at=1, processes=(), jobs=(), budget=None,
)  # fmt: skip


def windows_of(products: int) -> list[tuple[Series, Interval]]:
    series = [Series(f"P{number:04}-USD", timeframe) for number in range(products) for timeframe in TIMEFRAMES]
    return [(one, window_of(one, BARS)) for one in series]


def window_of(series: Series, bars: int) -> Interval:
    step = series.timeframe.step_ms
    stop = (time.time_ns() // 1_000_000 - 15_000) // step * step
    return Interval(stop - bars * step, stop)


async def draw(url: str, names: list[str], *, once: bool = False) -> None:
    """Draw the page of series every five seconds."""
    series = [Series.parse(name) for name in names]
    async with TrioRedis.from_url(url) as client:
        while True:
            began = trio.current_time()
            picture = await LivePicture(client, STATUS, SETTINGS).picture(series, "kept")
            assert len(picture.strips) == len(series)
            if once:
                return
            await trio.sleep_until(began + EVERY_S)


def test_the_page_beside_a_pass(redis_url, comparison):
    wanted = windows_of(1_000 if comparison.is_timed else 2)
    fill(redis_url, [*((one, window_of(one, SLOTS)) for one, _ in wanted[:SHOWN]), *wanted[SHOWN:]])
    tasks = [task.model_copy(update={"digests": True}) for task in tasks_of(wanted)]
    names = [str(series) for series, _ in wanted[:SHOWN]]

    async def scan() -> None:
        async with TrioRedis.from_url(redis_url) as client:
            store, evidence = CandleStore(client, SCOPE), EvidenceStore(client, SCOPE)
            for task in tasks:
                assert (await perform_scan(store, evidence, task)).findings == ()

    with redis_py.Redis.from_url(redis_url) as client:
        server = client.info("server")["process_id"]
        before = calls(client)
        trio.run(lambda: draw(redis_url, names, once=True))
        asked = calls(client) - before
    # However many series the cache has, a look reads those of its page.
    assert asked <= 60 * len(names)
    page = subprocess.Popen(
        [sys.executable, "-m", "benches.bench_page", redis_url, *names], cwd=Path(__file__).parents[1]
    )
    try:
        ways = {"alone": signal.SIGSTOP, "beside": signal.SIGCONT}
        found: dict[str, list[Spent]] = {name: [] for name in ways}
        for _ in range(7 if comparison.is_timed else 1):
            for name, order in ways.items():
                page.send_signal(order)
                found[name].append(each_of(lambda: trio.run(scan), server, ROUND_S if comparison.is_timed else 0))
    finally:
        page.kill()
        page.wait()
    if comparison.is_timed:
        comparison.tell(f"page beside a pass: {len(wanted)} series, {asked} commands a look at {len(names)}")
        for name, rounds in found.items():
            comparison.tell(f"  {name:<7}  {describe(median(rounds))}")
        ratio = median(found["beside"]).processor_s / median(found["alone"]).processor_s
        comparison.tell(f"  beside / alone: x{ratio:.3f} of processor time")


def each_of(scan: Callable[[], None], server: int, long_s: float) -> Spent:
    """Scan again and again for so long; return what one scan took."""
    began, count = time.perf_counter(), 0

    def scans() -> None:
        nonlocal count
        while count == 0 or time.perf_counter() - began < long_s:
            scan()
            count += 1

    return Spent(*(spent / count for spent in measure(scans, [server])))


def calls(client: redis_py.Redis) -> int:
    """Number of commands that the server has done."""
    return int(client.info("stats")["total_commands_processed"])


if __name__ == "__main__":
    trio.run(draw, sys.argv[1], sys.argv[2:])
