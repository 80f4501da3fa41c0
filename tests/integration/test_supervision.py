"""A tree whose worker hangs in native code, and endings while the exchange keeps pages waiting."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest
import redis as redis_py
from tests.integration.conftest import clean_environment, wait_until
from tests.integration.processes import wait_gone

from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.task_streams import GROUP
from reconciler_engine.supervisor.running_child import BEATS_MISSED

NEVER = "0 0 1 1 *"
CHILDREN = str(Path(__file__).parent / "children")


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path, own_server):
    """Start an engine that repairs a day of BTC-USD 1m, with an exchange that plays a fault, on a server of its own."""

    def start(fault: str = "", *, holder: redis_py.Redis | None = None, **environment: str):
        (tmp_path / "faults.toml").write_text(fault)
        exchange = start_exchange(public_rate=0, faults=tmp_path / "faults.toml")
        if holder is not None:
            holder.set(lease_of(exchange), "somebody")
        engine = start_process(
            "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0",
            "--full-reconcile-window-ms", "86400000", "--gap-scan-cron", NEVER, "--full-reconcile-cron", NEVER,
            "--batch-size", "20", "--listen", "off", "--base-url", exchange.url, "--data-dir", str(tmp_path / "data"),
            "--workers", "1",
            environment=clean_environment(**{"RECONCILER_REDIS_URL": own_server.url, **environment}),
        )  # fmt: skip
        return engine, exchange

    return start


def lease_of(exchange) -> str:
    return Scope.of(1, 1, exchange.url).key(f"lease:{FULL_RECONCILE}")


def ready_worker(engine) -> int:
    pid: int = engine.wait_event("child ready")["pid"]
    return pid


def hang(engine, worker: int) -> None:
    """Have a worker enter native code that never returns, and wait until it is there."""
    os.kill(worker, signal.SIGUSR1)
    engine.wait_line(lambda line: line == "holding the interpreter\n")


def bring_back_task(url: str, dead: str) -> None:
    """Let Redis have a task in the hands of a dead worker again, as after a failover."""
    with redis_py.Redis.from_url(url) as client:
        (stream,) = client.keys("*:tasks:scan")
        one = client.xinfo_consumers(stream, GROUP)[0]["name"].decode()
        consumer = f"{one.rpartition(':')[0]}:{dead}"
        with client.pipeline() as both:
            both.xadd(stream, {"body": "{}", "deliveries": 1})
            both.xreadgroup(GROUP, consumer, {stream: ">"})
            both.execute()


def test_a_crash_or_hang_in_native_code_shows_stacks_and_leaves_no_orphan_or_task(start_engine, own_server):
    engine, exchange = start_engine(PYTHONPATH=CHILDREN)
    crashing = ready_worker(engine)
    exchange.wait_requests(1)
    os.kill(crashing, signal.SIGSEGV)
    engine.wait_line(lambda line: "Fatal Python error: Segmentation fault" in line)
    crashed = engine.wait_event("child died", status="SIGSEGV")["child"]
    engine.wait_event("tasks handed out again", child=crashed)
    hanging = ready_worker(engine)
    hang(engine, hanging)

    hung = engine.wait_event("child hangs", pid=hanging, beats_missed=BEATS_MISSED)
    engine.wait_line(lambda line: "in hold_the_interpreter" in line)
    assert engine.wait_event("child died", child=hung["child"])["status"] == "SIGABRT"
    engine.wait_event("tasks handed out again", child=hung["child"])
    left = ready_worker(engine)
    assert engine.wait_event("pass done")["errors"] == []
    bring_back_task(own_server.url, crashed)
    engine.wait_event("tasks handed out again", child=crashed, count=1)

    hang(engine, left)
    engine.process.kill()
    engine.process.wait()
    wait_gone([left])


def test_a_worker_past_its_memory_limit_is_replaced_and_a_server_that_may_evict_told(start_engine, own_server):
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        # Somebody else has the pass: a worker that is done with its pages asks for no more memory.
        engine, exchange = start_engine(holder=client)
        assert engine.wait_event("the server may evict candles")["maxmemory_policy"] == "allkeys-lru"
        pid = ready_worker(engine)
        # Less than it has: memory that it asks for from now on is refused.
        resource.prlimit(pid, resource.RLIMIT_AS, (1, resource.prlimit(pid, resource.RLIMIT_AS)[1]))
        assert exchange.requests() == []
        client.delete(lease_of(exchange))
    # Python raises MemoryError, to be 120 where its end lacks memory, too (sys.exit); native code aborts; and a stack
    # that may not grow is SIGSEGV (getrlimit(2)).
    assert engine.wait_event("child died")["status"] in {"exit code 1", "exit code 120", "SIGABRT", "SIGSEGV"}
    ready_worker(engine)
    assert engine.wait_event("pass done")["errors"] == []
    assert engine.stop() == 0


@pytest.mark.slow
def test_a_tree_whose_rights_lapse_waits_and_goes_on(start_engine, own_server):
    with redis_py.Redis.from_url(own_server.url) as client:
        client.acl_setuser("engine", enabled=True, passwords=["+c4n4ry"], categories=["+@all"], keys=["*"])
        client.acl_setuser("engine", enabled=True, channels=["*"])
        url = own_server.url.replace("unix://", "unix://engine:c4n4ry@")
        engine, exchange = start_engine(RECONCILER_REDIS_URL=url)
        worker = ready_worker(engine)
        exchange.wait_requests(1)
        client.acl_deluser("engine")
        engine.wait_event("status not written")
        # A worker that dies meanwhile is started again, and waits as well.
        os.kill(worker, signal.SIGKILL)
        engine.wait_event("child died")
        engine.wait_event("waiting for Redis")
        time.sleep(1)
        assert engine.process.poll() is None
        client.acl_setuser("engine", enabled=True, passwords=["+c4n4ry"], categories=["+@all"], keys=["*"])
        client.acl_setuser("engine", enabled=True, channels=["*"])
        ready_worker(engine)
        wait_until(lambda: any(client.scan_iter("*:status:*")))
    assert engine.stop() == 0
    said = "".join(engine.read_all())
    assert "NOPERM" in said or "WRONGPASS" in said or "NOAUTH" in said
    assert "c4n4ry" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("rule", ["-xreadgroup", "-@all"])
def test_a_start_without_the_rights_ends_with_78(run_inside, start_exchange, own_server, tmp_path, rule):
    with redis_py.Redis.from_url(own_server.url) as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@all", rule)
    done = run_inside(
        "start", "--json", "--symbols", "BTC-USD", "--listen", "off", "--base-url", start_exchange(public_rate=0).url,
        "--data-dir", tmp_path / "data", RECONCILER_REDIS_URL=own_server.url.replace("unix://", "unix://poor:pw@"),
    )  # fmt: skip
    assert done.code == 78
    assert "the user may not do what is needed" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_a_term_under_slow_answers_takes_what_comes_and_leaves_no_lease(start_engine, own_server):
    engine, exchange = start_engine('[[fault]]\nmode = "slow_head"\nseconds = 5\npath = "*/candles"')
    worker = ready_worker(engine)
    exchange.wait_requests(2)
    assert engine.stop() == 0
    wait_gone([worker])
    said = "".join(engine.read_all())
    assert "killed" not in said
    assert "cancelled" not in said
    with redis_py.Redis.from_url(own_server.url) as client:
        assert client.zcard("candles:1:1:BTC-USD:1m") >= 300
        keys = [key.decode() for key in client.scan_iter()]
        assert [key for key in keys if ":lease:" in key or ":status:" in key or ":run:" in key] == []
        assert [group["pending"] for key in keys if ":tasks:" in key for group in client.xinfo_groups(key)] == [0] * 4


@pytest.mark.slow
def test_a_term_does_not_wait_for_a_permit_that_is_minutes_away(start_engine):
    engine, exchange = start_engine(
        '[[fault]]\nmode = "throttle"\nretry_after = "seconds"\nwait_s = 600\npath = "*/candles"'
    )
    worker = ready_worker(engine)
    # the answer to it sends everybody back
    exchange.wait_requests(1)
    assert engine.stop() == 0
    wait_gone([worker])
    said = "".join(engine.read_all())
    assert "killed" not in said
    assert "cancelled" not in said
