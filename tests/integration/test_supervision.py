"""A tree whose worker hangs in native code, and endings while the exchange keeps pages waiting."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest
import redis as redis_py
from tests.integration.processes import wait_gone

from reconciler_engine.supervisor.process import BEATS_MISSED

NEVER = "0 0 1 1 *"
CHILDREN = str(Path(__file__).parent / "children")
PATIENCE_S = 30.0


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path, own_server):
    """Start an engine that repairs a day of BTC-USD 1m, with an exchange that plays a fault, on a server of its own."""

    def start(fault: str = "", **environment: str):
        (tmp_path / "faults.toml").write_text(fault)
        exchange = start_exchange(public_rate=0, faults=tmp_path / "faults.toml")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
        engine = start_process(
            "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0",
            "--full-reconcile-window-ms", "86400000", "--gap-scan-cron", NEVER, "--full-reconcile-cron", NEVER,
            "--batch-size", "20", "--listen", "off", "--base-url", exchange.url, "--data-dir", str(tmp_path / "data"),
            environment={**kept, "RECONCILER_REDIS_URL": own_server.url, **environment},
        )  # fmt: skip
        return engine, exchange

    return start


def ready_worker(engine) -> int:
    pid: int = engine.wait_event("child ready")["pid"]
    return pid


def wait_requests(exchange, count) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(exchange.requests()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hang(engine, worker: int) -> None:
    """Have a worker enter native code that never returns, and wait until it is there."""
    os.kill(worker, signal.SIGUSR1)
    engine.wait_line(lambda line: line == "holding the interpreter\n")


def test_no_orphan_is_left_when_a_worker_is_inside_native_code(start_engine):
    engine, _ = start_engine(PYTHONPATH=CHILDREN)
    workers = [ready_worker(engine), ready_worker(engine)]
    hang(engine, workers[0])
    engine.process.kill()
    engine.process.wait()
    wait_gone(workers)


def test_a_worker_that_hangs_in_native_code_shows_where_and_its_tasks_go_to_others(start_engine):
    engine, exchange = start_engine(PYTHONPATH=CHILDREN)
    workers = [ready_worker(engine), ready_worker(engine)]
    wait_requests(exchange, 1)
    hang(engine, workers[0])
    hung = engine.wait_event("child hangs", pid=workers[0], beats_missed=BEATS_MISSED)
    engine.wait_line(lambda line: "in hold_the_interpreter" in line)
    assert engine.wait_event("child died", child=hung["child"])["status"] == "SIGABRT"
    engine.wait_event("tasks handed out again", child=hung["child"])
    ready_worker(engine)
    assert engine.wait_event("pass done")["errors"] == []
    assert engine.stop() == 0


def test_a_worker_that_crashes_in_native_code_shows_where_and_is_replaced(start_engine):
    engine, exchange = start_engine()
    workers = [ready_worker(engine), ready_worker(engine)]
    wait_requests(exchange, 1)
    os.kill(workers[0], signal.SIGSEGV)
    engine.wait_line(lambda line: "Fatal Python error: Segmentation fault" in line)
    crashed = engine.wait_event("child died", status="SIGSEGV")["child"]
    engine.wait_event("tasks handed out again", child=crashed)
    ready_worker(engine)
    assert engine.wait_event("pass done")["errors"] == []
    assert engine.stop() == 0


def test_workers_past_their_memory_limit_are_replaced_and_their_work_goes_on(start_engine):
    engine, _ = start_engine()
    for _ in range(2):
        # less than it has: whatever it asks for from now on is refused
        pid = ready_worker(engine)
        resource.prlimit(pid, resource.RLIMIT_AS, (1, resource.prlimit(pid, resource.RLIMIT_AS)[1]))
    dead = engine.wait_event("child died")
    assert dead["status"] in {"exit code 1", "SIGABRT"}
    ready_worker(engine)
    assert engine.wait_event("pass done")["errors"] == []
    assert engine.stop() == 0


def test_a_server_that_may_evict_is_warned_of_and_a_password_changed_while_it_runs_ends_the_tree(
    start_engine, own_server
):
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    engine, exchange = start_engine()
    assert engine.wait_event("the server may evict candles")["maxmemory_policy"] == "allkeys-lru"
    workers = [ready_worker(engine), ready_worker(engine)]
    wait_requests(exchange, 1)
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("requirepass", "c4n4ry")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert engine.process.wait(PATIENCE_S) == 78
    wait_gone(workers)
    said = "".join(engine.read_all())
    assert "redis_url: redis denied the command" in said
    assert "c4n4ry" not in said


def test_a_term_under_slow_answers_takes_what_comes_and_leaves_no_lease(start_engine, own_server):
    engine, exchange = start_engine('[[fault]]\nmode = "slow_head"\nseconds = 5\npath = "*/candles"')
    workers = [ready_worker(engine), ready_worker(engine)]
    wait_requests(exchange, 2)
    assert engine.stop() == 0
    wait_gone(workers)
    said = "".join(engine.read_all())
    assert "killed" not in said
    assert "cancelled" not in said
    with redis_py.Redis.from_url(own_server.url) as client:
        assert client.zcard("candles:1:1:BTC-USD:1m") >= 300
        keys = [key.decode() for key in client.scan_iter()]
        assert [key for key in keys if ":lease:" in key or ":status:" in key or ":run:" in key] == []
        assert [group["pending"] for key in keys if ":tasks:" in key for group in client.xinfo_groups(key)] == [0] * 3


def test_a_term_does_not_wait_for_a_permit_that_is_minutes_away(start_engine):
    engine, exchange = start_engine(
        '[[fault]]\nmode = "throttle"\nretry_after = "seconds"\nwait_s = 600\npath = "*/candles"'
    )
    workers = [ready_worker(engine), ready_worker(engine)]
    # the answer to it sends everybody back
    wait_requests(exchange, 1)
    assert engine.stop() == 0
    wait_gone(workers)
    said = "".join(engine.read_all())
    assert "killed" not in said
    assert "cancelled" not in said
