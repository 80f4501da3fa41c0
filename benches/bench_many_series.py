"""A quick scan of 60,000 series against one of 6,000: linear in time, bounded in the worker's memory.

The director is this process, the one worker another. Run as a test it scans 60 and 600 series.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis as redis_py
import trio
from benches.feeder_members import feeder_member

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.scope import Scope

T0 = 1_704_067_200_000
TIMEFRAMES = (Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1)
WINDOW = Interval(T0 - 1_800_000, T0)
BASE_URL = "http://127.0.0.1:9"
WORKER = """
import sys, trio
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts

async def main(redis_url, base_url):
    async with open_parts(ReconciliationConfig.check({"base_url": base_url}), redis_url, owns_server=False) as parts:
        async with trio.open_nursery() as nursery:
            await nursery.start(parts.worker(None).run)
            print("ready", flush=True)

trio.run(main, *sys.argv[1:])
"""


def all_series(products: int) -> list[Series]:
    return [Series(f"P{number:05}-USD", timeframe) for number in range(products) for timeframe in TIMEFRAMES]


def fill(url: str, series: list[Series]) -> int:
    """Give every series its candles of the window; return how many."""
    scope = Scope.of(1, 1, BASE_URL)
    count = 0
    with redis_py.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipe:
        for one in series:
            grid = WINDOW.grid(one.timeframe.step_ms)
            if grid:
                candles = [Candle(at, 10.5, 11.25, 10.0, 10.75, 1.5) for at in grid]
                pipe.zadd(scope.candle_key(one), {feeder_member(one, candle): candle.timestamp for candle in candles})
                count += len(grid)
            if len(pipe) == 500:
                pipe.execute()
        pipe.execute()
    return count


@contextmanager
def worker(url: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", WORKER, url, BASE_URL], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def peak_mib(pid: int) -> float:
    """Most memory a process ever held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def test_ten_times_the_series_take_ten_times_as_long(redis_url, comparison):
    few, many = (1_000, 10_000) if comparison.is_timed else (10, 100)
    members = fill(redis_url, all_series(many))
    config = ReconciliationConfig.check({"base_url": BASE_URL})

    async def scan(products: int) -> float:
        series = all_series(products)
        best_s = float("inf")
        async with open_parts(config.model_copy(update={"max_candles": 0}), redis_url, owns_server=False) as parts:
            for _ in range(3 if comparison.is_timed else 1):
                began = time.perf_counter()
                result = await parts.reconciler.run_pass(PassRequest("gap_scan", series, WINDOW, repair=False))
                best_s = min(best_s, time.perf_counter() - began)
                assert (result.missing, result.errors) == (0, ())
                assert sum(row.expected for row in result.series) == members * products // many
        return best_s

    with worker(redis_url) as pid:
        few_s = trio.run(scan, few)
        many_s = trio.run(scan, many)
        peak = peak_mib(pid)
    comparison.tell(
        f"quick scan of {6 * few} series {few_s * 1e3:.0f} ms, of {6 * many} {many_s * 1e3:.0f} ms "
        f"({members} members): x{many_s / few_s:.1f}; the worker's peak memory {peak:.0f} MiB"
    )
    assert peak <= 120
