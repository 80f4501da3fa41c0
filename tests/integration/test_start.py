"""`start` as an operator meets it: workers die, signals come, a second engine is refused."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter

import pytest
import trio
from tests.integration.processes import children_of, descendants, halt, is_there, wait_gone

from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.simulation import SimulatorSettings, build_market
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.embedded.data_directory import DataDirectory

KEY = "candles:1:1:BTC-USD:1m"
NEVER = "0 0 1 1 *"
PAGES = 80


@pytest.fixture
def exchange(start_exchange):
    return start_exchange(public_rate=0)


@pytest.fixture
def words(exchange, tmp_path):
    """Arguments of every engine here: weeks of BTC-USD 1m without a candle, at 20 pages a second."""
    return (
        "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0", "--batch-size", "20",
        "--full-reconcile-window-ms", str(PAGES * 300 * 60_000), "--base-url", exchange.url,
        "--data-dir", str(tmp_path / "data"),
    )  # fmt: skip


@pytest.fixture
def start_engine(start_process, words):
    """Start an engine that repairs once."""

    def start(workers: int):
        schedule = ("--gap-scan-cron", NEVER, "--full-reconcile-cron", NEVER)
        return start_process("start", *words, *schedule, "--workers", str(workers), "--listen", "off")

    return start


def worker_pids(engine, count) -> list[int]:
    """Wait until the workers are ready."""
    ready: list[int] = []
    while len(ready) < count:
        said = engine.wait_event("child ready")
        if said["child"].startswith("worker-"):
            ready.append(said["pid"])
    return ready


def cached(tmp_path):
    """Every member of the running engine's cache."""
    running = DataDirectory(tmp_path / "data").find_running()
    assert running is not None
    return trio.run(_members, running.url)


async def _members(url: str):
    async with TrioRedis.from_url(url) as client:
        return [json.loads(member) for member in (await client.pipe([("ZRANGE", KEY, 0, -1)]))[0]]


def truth(members) -> list[tuple[int, float, float, float]]:
    """Return the simulated exchange's bars for the span of these members."""
    market, clock = build_market(SimulatorSettings())
    span = Interval(members[0]["timestamp"], members[-1]["timestamp"] + 60_000)
    bars = market.bars("BTC-USD", Timeframe.M1, span, clock.now())
    return [(bar.start, float(bar.open), float(bar.close), float(bar.volume)) for bar in sorted(bars)]


@pytest.mark.slow
def test_killed_and_stopped_workers_cost_nothing_and_a_second_interrupt_ends_all(start_engine, exchange, tmp_path):
    engine = start_engine(workers=2)
    killed, stopped = worker_pids(engine, 2)
    exchange.wait_requests(12)
    halt(stopped)
    os.kill(killed, signal.SIGKILL)
    stored = {member["timestamp"] for member in cached(tmp_path)}
    assert stored
    first = engine.wait_event("child died", status="SIGKILL")["child"]
    engine.wait_event("tasks handed out again", child=first)
    third = engine.wait_event("child ready")["pid"]
    second = engine.wait_event("child hangs", pid=stopped)["child"]
    engine.wait_event("child died", child=second)
    engine.wait_event("tasks handed out again", child=second)
    done = engine.wait_event("pass done", job="full_reconcile")
    assert done["missing"] == PAGES * 300
    assert done["errors"] == []
    members = cached(tmp_path)
    assert len(members) == done["filled"]
    assert len({member["timestamp"] for member in members}) == len(members)
    held = [tuple(member[name] for name in ("timestamp", "open", "close", "volume")) for member in members]
    assert held == truth(members)
    asked = exchange.requests()
    assert all(int(one["end"]) - int(one["start"]) < 300 * 60 for one in asked)
    # only pages in the hands of the two were asked for a second time
    assert PAGES <= len(asked) <= PAGES + 2 * PAGES_IN_FLIGHT
    times = Counter(int(one["start"]) * 1_000 for one in asked)
    assert {start: count for start, count in times.items() if start in stored and count > 1} == {}

    # a worker that cannot finish what is in hand, nor see that its parent is gone
    below = descendants(engine.process.pid)
    halt(third)
    engine.process.send_signal(signal.SIGINT)
    engine.wait_line(lambda line: "press Ctrl-C again" in line)
    engine.process.send_signal(signal.SIGINT)
    assert engine.process.wait(30) == 130
    wait_gone(below)


def test_a_killed_supervisor_leaves_no_orphan_a_second_engine_no_second_server(
    start_engine, exchange, words, run_inside, tmp_path
):
    engine = start_engine(workers=1)
    keeper = engine.wait_event("child ready", child="redis")["pid"]
    (worker,) = worker_pids(engine, 1)
    exchange.wait_requests(30)
    (server,) = children_of(keeper)
    # slow to end, both of them
    for pid in (keeper, server):
        halt(pid)
    try:
        engine.process.kill()
        engine.process.wait()
        wait_gone([worker])
        asked = len(exchange.requests())
        again = start_engine(workers=1)
        again.wait_event("waiting for the server that was left behind", pid=engine.process.pid)
        assert children_of(again.process.pid) == set()
    finally:
        for pid in (keeper, server):
            os.kill(pid, signal.SIGCONT)
    again.wait_event("child ready", child="redis")
    assert not is_there(server)
    wait_gone([keeper])
    exchange.wait_requests(asked + 12)
    where = ("--symbols", "BTC-USD", "--data-dir", tmp_path / "data")
    refused = run_inside("start", *where)
    assert refused.code == 75
    assert f"reconciler-engine start (pid {again.process.pid})" in refused.err
    seen = run_inside("scan", *where, "--timeframes", "1m", "--json")
    assert seen.code in (0, 3), seen.err
    assert seen.json["series"][0]["expected"] == 360
    below = descendants(again.process.pid)
    assert again.stop() == 0
    assert not any(map(is_there, below))

    done = run_inside("reconcile", *words)
    assert (done.code, done.json["unresolved"]) == (0, 0), done.err
    # But for the pages in hand at the kill nothing was asked for again. A page more for each life that saw a bar close.
    assert len(exchange.requests()) <= PAGES + PAGES_IN_FLIGHT + 2
