"""`start` as an operator meets it: workers die, signals come, a second engine is refused."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import trio
from tests.integration.processes import children_of, is_there, wait_gone

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.simulation import SimulatorSettings, build_market
from reconciler_engine.store.data_directory import DataDirectory
from reconciler_engine.store.transport import TrioRedis

KEY = "candles:1:1:BTC-USD:1m"
NEVER = "0 0 1 1 *"
PATIENCE_S = 30.0


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path):
    """Start an engine that repairs ten empty days of BTC-USD 1m: 48 pages."""

    def start(*arguments: str, rate: int = 20):
        exchange = start_exchange(public_rate=0)
        engine = start_process(
            "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0",
            "--full-reconcile-window-ms", str(48 * 300 * 60_000), "--gap-scan-cron", NEVER,
            "--full-reconcile-cron", NEVER, "--batch-size", str(rate), "--base-url", exchange.url,
            "--data-dir", str(tmp_path / "data"), "--listen", "off", *arguments,
        )  # fmt: skip
        return engine, exchange

    return start


def worker_pids(engine, count=2) -> list[int]:
    """Wait until the workers are ready."""
    ready: list[int] = []
    while len(ready) < count:
        said = engine.wait_event("child ready")
        if said["child"].startswith("worker-"):
            ready.append(said["pid"])
    return ready


def wait_requests(exchange, count) -> None:
    """Wait until the exchange was asked so often."""
    while len(exchange.requests()) < count:
        time.sleep(0.01)


def cached(tmp_path):
    """Every member of the running engine's cache."""
    running = DataDirectory(tmp_path / "data").find_running()
    assert running is not None
    return trio.run(_members, running.url)


async def _members(url: str):
    async with TrioRedis.from_url(url) as client:
        return [json.loads(member) for member in (await client.pipe([("ZRANGE", KEY, 0, -1)]))[0]]


def truth(members) -> list[tuple[int, float, float, float]]:
    """What the simulated exchange has for the span of these members."""
    market, clock = build_market(SimulatorSettings())
    span = Interval(members[0]["timestamp"], members[-1]["timestamp"] + 60_000)
    bars = market.bars("BTC-USD", Timeframe.M1, span, clock.now())
    return [(bar.start, float(bar.open), float(bar.close), float(bar.volume)) for bar in sorted(bars)]


def test_a_killed_worker_loses_and_doubles_nothing(start_engine, tmp_path):
    engine, exchange = start_engine()
    first, _ = worker_pids(engine)
    wait_requests(exchange, 12)
    os.kill(first, signal.SIGKILL)
    died = engine.wait_event("child died")
    assert died["status"] == "SIGKILL"
    engine.wait_event("tasks handed out again")
    engine.wait_event("child ready")
    done = engine.wait_event("pass done", job="full_reconcile")
    assert done["missing"] == 48 * 300
    assert done["errors"] == []
    members = cached(tmp_path)
    assert len(members) == done["filled"]
    assert len({member["timestamp"] for member in members}) == len(members)
    held = [tuple(member[name] for name in ("timestamp", "open", "close", "volume")) for member in members]
    assert held == truth(members)
    asked = exchange.requests()
    assert all(int(one["end"]) - int(one["start"]) < 300 * 60 for one in asked)
    # at most the pages in hand at the kill were asked a second time
    assert 48 <= len(asked) <= 48 + 16


def test_sigterm_finishes_what_is_in_hand_and_leaves_no_process(start_engine):
    engine, exchange = start_engine(rate=5)
    pids = [engine.wait_event("child ready", child="redis")["pid"], *worker_pids(engine)]
    wait_requests(exchange, 3)
    assert engine.stop() == 0
    assert not any(map(is_there, pids))


def test_a_killed_supervisor_leaves_no_orphan(start_engine):
    engine, exchange = start_engine(rate=5)
    pids = [engine.wait_event("child ready", child="redis")["pid"], *worker_pids(engine)]
    wait_requests(exchange, 3)
    engine.process.kill()
    engine.process.wait()
    wait_gone(pids)


def test_work_goes_on_after_a_restart_over_the_same_data(start_engine):
    engine, exchange = start_engine()
    worker_pids(engine)
    wait_requests(exchange, 30)
    engine.process.kill()
    engine.process.wait()
    again, _ = start_engine()
    done = again.wait_event("pass done", job="full_reconcile")
    # at most the pages in hand at the kill were not stored by the first life
    assert done["requests"] <= 48 - 30 + 8


def test_a_second_engine_on_the_same_data_is_refused(start_engine, run_inside, tmp_path):
    engine, _ = start_engine()
    worker_pids(engine)
    refused = run_inside("start", "--symbols", "BTC-USD", "--data-dir", tmp_path / "data")
    assert refused.code == 75
    assert f"reconciler-engine start (pid {engine.process.pid})" in refused.err


def test_other_commands_find_the_running_server(start_engine, run_inside, tmp_path):
    engine, _ = start_engine(rate=50)
    engine.wait_event("pass done")
    seen = run_inside("scan", "--symbols", "BTC-USD", "--timeframes", "1m", "--data-dir", tmp_path / "data", "--json")
    assert seen.code in (0, 3), seen.err
    assert seen.json["series"][0]["expected"] == 360
    assert engine.stop() == 0


def test_a_second_interrupt_ends_at_once(start_engine):
    engine, _ = start_engine()
    pids = worker_pids(engine)
    # a worker that cannot finish what is in hand, nor see that its parent is gone
    os.kill(pids[0], signal.SIGSTOP)
    engine.process.send_signal(signal.SIGINT)
    engine.wait_line(lambda line: "press Ctrl-C again" in line)
    engine.process.send_signal(signal.SIGINT)
    assert engine.process.wait(30) == 130
    wait_gone(pids)


def test_a_stopped_worker_is_killed_and_its_tasks_go_to_others(start_engine):
    engine, exchange = start_engine()
    pids = worker_pids(engine)
    wait_requests(exchange, 5)
    os.kill(pids[0], signal.SIGSTOP)
    assert engine.wait_event("child hangs")["pid"] == pids[0]
    engine.wait_event("child died")
    done = engine.wait_event("pass done", job="full_reconcile")
    assert done["errors"] == []
    assert done["missing"] == 48 * 300


def test_no_second_server_starts_over_the_files_of_one_whose_supervisor_was_killed(start_engine):
    engine, _ = start_engine()
    keeper = engine.wait_event("child ready", child="redis")["pid"]
    worker_pids(engine)
    (server,) = children_of(keeper)
    # slow to end
    os.kill(server, signal.SIGSTOP)
    engine.process.kill()
    engine.process.wait()
    again, _ = start_engine()
    again.wait_event("waiting for the server that was left behind", pid=engine.process.pid)
    assert children_of(again.process.pid) == set()
    os.kill(server, signal.SIGCONT)
    again.wait_event("child ready", child="redis")
    assert not is_there(server)
    assert again.stop() == 0
