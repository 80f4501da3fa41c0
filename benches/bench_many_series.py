"""A quick scan of 60,000 series against one of 6,000, and of as many at one server and at three primaries of a cluster.

It is linear in time and bounded in the worker's memory. The director is this process, the one worker another. Run as a
test it scans 60 and 600 series.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis as redis_py
from benches.feeder_members import feeder_member
from benches.processor_time import Spent, describe, measure, median, run_trio
from tests.cluster_servers import free_port, new_cluster, wait_for
from tests.conftest import plain_client

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.program_start import YOUNG_OBJECTS
from reconciler_engine.store.embedded.binary import find_binary
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
    with plain_client(url) as client, client.pipeline(transaction=False) as pipe:
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


@contextmanager
def one_server(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """A server by itself, over TCP as the nodes of a cluster are."""
    port = free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder))
    process = subprocess.Popen([find_binary(), *options], stdout=subprocess.DEVNULL)
    try:
        with redis_py.Redis(port=port) as client:
            wait_for(client.ping)
        yield f"redis://127.0.0.1:{port}", [process.pid]
    finally:
        process.kill()
        process.wait()


@contextmanager
def three_primaries(folder: Path) -> Iterator[tuple[str, list[int]]]:
    with new_cluster(folder, binary=find_binary()) as cluster:
        yield cluster.url, [node.pid for node in cluster.nodes]


@pytest.fixture(autouse=True)
def collects_as_the_supervisor():
    before = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS)
    yield
    gc.set_threshold(*before)


async def scan(url: str, products: int, members: int) -> None:
    """Scan all series of some products; each holds as many members as its window has slots."""
    config = ReconciliationConfig.check({"base_url": BASE_URL, "max_candles": 0})
    series = all_series(products)
    async with open_parts(config, url, owns_server=False) as parts:
        result = await parts.reconciler.run_pass(PassRequest("gap_scan", series, WINDOW, repair=False))
    assert (result.missing, result.errors) == (0, ())
    assert sum(row.expected for row in result.series) == members


def test_ten_times_the_series_take_ten_times_as_long(tmp_path, comparison):
    few, many = (1_000, 10_000) if comparison.is_timed else (10, 100)
    took: dict[int, list[Spent]] = {few: [], many: []}
    with one_server(tmp_path) as (url, servers):
        members = fill(url, all_series(many))
        with worker(url) as pid:
            for _ in range(7 if comparison.is_timed else 1):
                for products, rounds in took.items():
                    rounds.append(measure(run_trio(scan, url, products, members * products // many), [pid, *servers]))
            peak = peak_mib(pid)
    one, other = median(took[few]), median(took[many])
    comparison.tell(
        f"quick scan of {6 * few} series {describe(one)}; of {6 * many} ({members} members) {describe(other)}: "
        f"x{other.clock_s / one.clock_s:.1f}, x{other.processor_s / one.processor_s:.1f} of processors; "
        f"the worker's peak memory {peak:.0f} MiB; load {os.getloadavg()[0]:.1f}"
    )
    assert peak <= 120


def test_three_primaries_take_as_long_as_one_server(tmp_path, comparison):
    products = 1_000 if comparison.is_timed else 10
    took: dict[str, list[Spent]] = {"one server": [], "three primaries": []}
    with ExitStack() as stack:
        places = []
        for name, servers in (("one server", one_server), ("three primaries", three_primaries)):
            (tmp_path / name).mkdir()
            url, pids = stack.enter_context(servers(tmp_path / name))
            members = fill(url, all_series(products))
            places.append((name, url, [*pids, stack.enter_context(worker(url))]))
        for _ in range(9 if comparison.is_timed else 1):
            for name, url, pids in places:
                took[name].append(measure(run_trio(scan, url, products, members), pids))
    one, other = (median(rounds) for rounds in took.values())
    comparison.tell(
        f"quick scan of {6 * products} series at one server {describe(one)}; at three primaries on the same cores "
        f"{describe(other)}: x{other.clock_s / one.clock_s:.2f}, x{other.processor_s / one.processor_s:.2f} of "
        f"processors; load {os.getloadavg()[0]:.1f}"
    )
