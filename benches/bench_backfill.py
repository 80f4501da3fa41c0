"""Backfill of a year of 1m bars, end to end, with the budget lifted: candles a second, and who spends what on one.

The exchange is the product's simulator in a process of its own; Redis is another; the engine, its director and one
worker, is this one. Run as a test it fills two days.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis as redis_py
import trio

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.backfill.director import BackfillProgress
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS

MINUTE_MS = 60_000
T0 = 1_704_067_200_000
"""2024-01-01T00:00Z"""
YEAR_SLOTS = 365 * 1_440
SERIES = Series("BTC-USD", Timeframe.M1)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Simulator(NamedTuple):
    url: str
    pid: int


@contextmanager
def simulator() -> Iterator[Simulator]:
    command = Path(sys.executable).parent / "reconciler-engine"
    process = subprocess.Popen([command, "simulate", "--public-rate", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Simulator(process.stdout.readline().removeprefix("listening on ").strip(), process.pid)
    finally:
        process.terminate()
        process.communicate()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def server_pid(url: str) -> int:
    with redis_py.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


async def fill(parts: Parts, source: CoinbaseClient, interval: Interval) -> ReconciliationResult:
    states: list[BackfillProgress] = []
    worker = parts.worker(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        result = await parts.history.backfill([SERIES], interval, states.append)
        worker.drain()
    return result


def test_backfill_of_a_year(redis_url, comparison):
    slots = YEAR_SLOTS if comparison.is_timed else 2 * 1_440
    interval = Interval(T0, T0 + slots * MINUTE_MS)

    async def main(exchange: Simulator) -> None:
        config = ReconciliationConfig.check(
            {"base_url": exchange.url, "max_candles": 0, "ttl": 0, "batch_size": 1_000, "batch_delay_ms": 1_000}
        )
        redis_pid = server_pid(redis_url)
        async with (
            open_parts(config, redis_url, owns_server=False) as parts,
            CoinbaseClient(exchange.url, connections=PAGES_IN_FLIGHT) as source,
        ):
            pids = {"engine": os.getpid(), "simulator": exchange.pid, "redis": redis_pid}
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            began = time.perf_counter()
            result = await fill(parts, source, interval)
            took_s = time.perf_counter() - began
            spent = {name: (cpu_s(pid) - before[name]) * 1e6 / slots for name, pid in pids.items()}
            assert (result.filled, result.unresolved, result.errors) == (slots, 0, ())
            assert result.requests == -(-slots // PAGE_SLOTS)
            assert await parts.client.zcard(parts.scope.candle_key(SERIES)) == slots
            began = time.perf_counter()
            plan = await parts.history.plan([SERIES], interval)
            read_s = time.perf_counter() - began
            assert (plan.requests, plan.missing) == (0, 0)
        total = sum(spent.values())
        comparison.tell(f"backfill of {slots} bars of 1m: {slots / took_s:,.0f} candles/s end to end ({took_s:.1f} s)")
        comparison.tell(
            "  CPU a candle: "
            + ", ".join(f"{name} {us:.1f} us" for name, us in spent.items())
            + f"; together {total:.1f} us, at most {2e6 / max(total, 0.01):,.0f} candles/s on two idle cores"
        )
        comparison.tell(f"  audit of the same, all there: {slots / read_s:,.0f} slots/s")

    with simulator() as exchange:
        trio.run(main, exchange)
