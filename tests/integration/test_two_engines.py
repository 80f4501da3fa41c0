"""Two engines on one Redis: one directs a job at a time; one that was stopped or cut off harms nothing afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis as redis_py
import trio
import trio.lowlevel
from tests.chaos.invariants import LATE_S, budget_excess
from tests.chaos.proxy import Kind, Toxic, Way, open_proxy
from tests.chaos.waiting import wait_until_so, watching_stalls
from tests.integration.engines import DENSE, MINUTE, Engine, engine, truth

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.engine.parts import make_parts
from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE, GAP_SCAN, ScheduledPasses
from reconciler_engine.engine.tasks import worker as worker_module
from reconciler_engine.errors import LeaseLost, StoreUnavailable
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.store import task_streams as tasks_module
from reconciler_engine.store import tasks
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.leases import JobLeases, Lease
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.task_streams import Lane

SCOPE = Scope(1, 1, "exchange")
LEASE_MS = 120
PAUSES = 8


@dataclass
class Director:
    """A director's process."""

    process: trio.Process
    name: bytes
    lines: AsyncIterator[str]

    async def order(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"x")

    async def stop(self) -> None:
        """Stop it, and return once it stands still."""
        self.process.send_signal(signal.SIGSTOP)
        stat = trio.Path(f"/proc/{self.process.pid}/stat")
        await until(partial(is_stopped, stat))


async def lines_of(stream: trio.abc.ReceiveStream) -> AsyncGenerator[str, None]:
    buffer = b""
    async for data in stream:
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            yield line.decode()


async def is_stopped(stat: trio.Path) -> bool:
    return (await stat.read_text()).rpartition(")")[2].split()[0] == "T"


@asynccontextmanager
async def open_director(run: Engine, url: str) -> AsyncIterator[Director]:
    arguments = [run.parts.config.model_dump_json(exclude_unset=True), url, str(LEASE_MS)]
    command = [sys.executable, str(Path(__file__).with_name("director_process.py")), *arguments]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with aclosing(lines_of(process.stdout)) as lines:
            yield Director(process, (await anext(lines)).encode(), lines)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


WORKERS_OWN = (b":watch:", b":budget:", b":claims:")
"""Keys that a director never writes, and workers may at any time."""


async def contents(client: TrioRedis) -> dict[bytes, object]:
    """All that is in Redis, once workers have come to rest, but for what they alone write."""
    seen: dict[bytes, object] | None = None
    while True:
        found = await client.execute_command("KEYS", "*")
        keys = sorted(key for key in found if not any(part in key for part in WORKERS_OWN))
        kinds = await client.pipe([("TYPE", key) for key in keys])
        streams = {key for key, kind in zip(keys, kinds, strict=True) if kind == b"stream"}
        reads = [("XRANGE", key, "-", "+") if key in streams else ("DUMP", key) for key in keys]
        replies = await client.pipe(reads)
        # An empty stream is where somebody waits for tasks.
        now = {key: reply for key, reply in zip(keys, replies, strict=True) if reply != []}
        if now == seen:
            return now
        seen = now
        await trio.sleep(0.02)


async def take_over(run: Engine, leases: JobLeases) -> Lease:
    """Take the job as soon as that can be done, and see its open run to the end."""
    while True:
        lease = await leases.take(GAP_SCAN)
        if lease is not None:
            break
        await trio.sleep(0.005)
    queue = run.parts.queue.under(lease.epoch)
    if lease.open_run:
        await queue.wait_finished(lease.open_run, Lane.SCAN, Lane.LIVE)
        await queue.close_run(lease.open_run)
    return lease


async def pause_directors(url: str, pauses: int, seed: int, patience_s: float = 180) -> tuple[int, int, set[str]]:
    """Stop a director so often in the middle of its pass, past its lease, and wake it when somebody else directs.

    Returns:
        Pauses of a director that held the lease, those after which it wrote anything, and how its passes ended.
    """
    random = Random(seed)
    settings: dict[str, Any] = {
        "symbols": ["BTC-USD", "DASH-USD"],
        "timeframes": ["1m", "5m"],
        "quick_scan_window_ms": 4 * 3_600_000,
    }
    held = stale = 0
    ends: set[str] = set()
    epochs: list[int] = []
    async with engine(url, patience_s=patience_s, **settings) as run, open_director(run, url) as director:
        client = run.parts.client
        leases = JobLeases(client, run.parts.scope, "successor", life_ms=60_000)

        async def is_directing() -> bool:
            return bool(await client.get(lease_key) == director.name)

        lease_key = run.parts.scope.key(f"lease:{GAP_SCAN}")
        while held < pauses:
            with trio.fail_after(60):
                await client.delete(*(run.key(series) for series in run.parts.config.series()))
                await director.order()
                while await client.get(lease_key) != director.name:
                    await trio.lowlevel.checkpoint()
                # Some 0.3 s, of which most is the pause before the second look.
                await trio.sleep(random.choice((random.random() * 0.02, random.random() * 0.35)))
                await director.stop()
                was_held = await is_directing()
                if held % 3 == 2:
                    await client.flushall()
                lease = await take_over(run, leases)
                queue = run.parts.queue.under(lease.epoch)
                mine = await queue.open_run(GAP_SCAN, 0)
                before = await contents(client)
                director.process.send_signal(signal.SIGCONT)
                ends.add(await anext(director.lines))
                after = await contents(client)
                held += was_held
                stale += before != after
                changed = {key for key in before | after if before.get(key) != after.get(key)}
                assert not changed or not was_held, changed
                epochs.append(lease.epoch)
                await queue.close_run(mine)
                await leases.release(lease)
        assert epochs == sorted(set(epochs))
    return held, stale, ends


@pytest.fixture
def eager_successor(monkeypatch):
    """Who takes over looks again soon: a director that stands still is still asleep in Redis, and gets the word."""
    monkeypatch.setattr(tasks, "WAIT_S", 0.05)


@pytest.mark.usefixtures("eager_successor")
async def test_a_director_stopped_past_its_lease_writes_nothing_when_it_wakes(redis_url):
    held, stale, ends = await pause_directors(redis_url, PAUSES, seed=1)
    assert (held, stale) == (PAUSES, 0)
    assert "LeaseLost" in ends


@pytest.mark.soak
@pytest.mark.usefixtures("eager_successor")
async def test_five_hundred_pauses_of_directors_and_no_stale_write(redis_url):
    held, stale, ends = await pause_directors(redis_url, 500, seed=2, patience_s=1_800)
    # The figure.
    print(f"{held} pauses of a director past its lease, a third of them with FLUSHALL: {stale} stale writes; {ends}")  # noqa: T201
    assert (held, stale) == (500, 0)


async def test_each_tick_is_run_once_over_two_nodes(redis_url):
    won: list[int] = []

    async def node(name: str) -> None:
        async with TrioRedis.from_url(redis_url) as client:
            leases = JobLeases(client, SCOPE, name)
            for tick in range(200):
                lease = await leases.take(GAP_SCAN, f"{tick}:0")
                # Not had: the other one named it, or is at another one and has the job's lease.
                while lease is None and not await client.exists(SCOPE.key(f"tick:{GAP_SCAN}:{tick}:0")):
                    lease = await leases.take(GAP_SCAN, f"{tick}:0")
                if lease is not None:
                    won.append(tick)
                    await leases.release(lease)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node, "one")
            nursery.start_soon(node, "two")
    assert sorted(won) == list(range(200))


async def test_a_node_that_is_cut_off_is_taken_over_from_and_harms_nothing_when_it_is_back(redis_url, monkeypatch):
    """Two nodes, a proxy between each and Redis; the one that directs is cut off in the middle of its pass."""
    monkeypatch.setattr(tasks_module, "REDELIVER_IDLE_MS", 4_000)
    monkeypatch.setattr(tasks_module, "WATCH_MS", 2_000)
    monkeypatch.setattr(worker_module, "_TOUCH_S", 0.5)
    settings: dict[str, Any] = {
        "symbols": ["BTC-USD"], "timeframes": ["1m"], "full_reconcile_window_ms": 40 * 300 * MINUTE,
        "batch_size": 20, "batch_delay_ms": 1_000,
    }  # fmt: skip
    socket = Path(redis_url.removeprefix("unix://"))
    results: list[ReconciliationResult] = []
    lost: list[Exception] = []
    directing: list[str] = []
    async with engine(redis_url, workers=0, patience_s=180, **settings) as run, open_proxy(socket) as (cable, where):
        config, scope = run.parts.config, run.parts.scope

        async def node(name: str, url: str, *, task_status) -> None:
            async with TrioRedis.from_url(url) as client, trio.open_nursery() as own:
                parts = make_parts(config, client, owns_server=False, consumer=name)
                passes = ScheduledPasses(parts, config.series(), now=lambda: 0, lease_ms=3_000)
                async with CoinbaseClient(config.base_url, connections=16) as source:
                    own.start_soon(passes.keep_leases)
                    await own.start(parts.worker(source).run)
                    task_status.started()
                    directing.append(name)
                    try:
                        results.append(await passes.perform(FULL_RECONCILE))
                    except (LeaseLost, StoreUnavailable) as error:
                        lost.append(error)
                    # Its worker helps on.
                    await trio.sleep_forever()

        async with trio.open_nursery() as nodes:
            await nodes.start(node, "first", f"redis://{where}")
            asked = run.exchange.log.records
            await until(soon(lambda: len(asked) >= 8))
            for way in Way:
                cable.set(Toxic(Kind.CUT, way))
            await nodes.start(node, "second", redis_url)
            await until(soon(lambda: lost))
            await until(soon(lambda: len(asked) >= 25))
            cable.clear()
            await until(soon(lambda: results))
            (result,) = results
            assert (result.unresolved, result.errors) == (0, ())
            assert directing == ["first", "second"]
            # Both help: the cache now holds the truth, each candle once.
            held = await run.held(DENSE)
            # The first one's window began earlier where a bar has closed since, which was asked for, too.
            assert held == truth(DENSE, Interval(min(held), result.series[0].stop))
            closed = (result.series[0].start - min(held)) // MINUTE
            fence = await run.parts.client.hgetall(scope.fence_key(FULL_RECONCILE))
            assert set(fence) == {b"epoch"}
            nodes.cancel_scope.cancel()
        # Only pages in the first one's hands at the cut were asked for twice.
        pages = [one for one in asked if one.path.endswith("/candles")]
        assert 40 <= len(pages) <= 40 + worker_module.PAGES_IN_FLIGHT + closed


def soon(condition: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def ask() -> object:
        await trio.lowlevel.checkpoint()
        return condition()

    return ask


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    await wait_until_so(condition, 50, 0.005)


@pytest.mark.slow
def test_two_engines_keep_one_budget_over_deaths_restarts_and_an_emptied_redis(
    start_process, start_exchange, own_server, tmp_path
):
    exchange = start_exchange(public_rate=0)
    # Far below what the two workers could do.
    rate_per_s = 4
    with redis_py.Redis.from_url(own_server.url) as client:
        # It is killed further down, and must not forget what it granted where the disk is slow just then.
        client.config_set("appendfsync", "always")

    def start(name: str):
        return start_process(
            "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0",
            "--full-reconcile-window-ms", str(40 * 300 * MINUTE), "--gap-scan-cron", "0 0 1 1 *",
            "--full-reconcile-cron", "* * * * * *", "--batch-size", str(rate_per_s), "--base-url", exchange.url,
            "--redis-url", own_server.url, "--data-dir", str(tmp_path / name), "--listen", "off", "--workers", "1",
        )  # fmt: skip

    with watching_stalls() as stalled_s:
        engines = [start("one"), start("two")]
        workers = [said["pid"] for engine in engines for said in [engine.wait_event("child ready")]]
        exchange.wait_requests(4)
        os.kill(workers[0], signal.SIGKILL)
        with redis_py.Redis.from_url(own_server.url) as client:
            exchange.wait_requests(24)
            client.flushall()
            exchange.wait_requests(28)
        own_server.kill()
        own_server.start()
        exchange.wait_requests(32)
        engines[1].process.kill()
        exchange.wait_requests(36)
        assert engines[0].stop() == 0
    instants = sorted(one["time_ms"] / 1_000 for one in exchange.requests())
    assert budget_excess(instants, rate_per_s, LATE_S + stalled_s()) <= 1
