"""`start`: its faults before anything runs, what it keeps to itself, and endings at bad moments."""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext, suppress

import pytest
from tests.integration.conftest import clean_environment, wait_until
from tests.integration.processes import descendants, is_there, wait_gone

from reconciler_engine.errors import StoreUnavailable
from reconciler_engine.store.embedded.data_directory import DataDirectory
from reconciler_engine.supervisor.child_list import ChildList
from reconciler_engine.supervisor.signals import hear_orders

CANARY = "canary-7f3a"
NEVER = "0 0 1 1 *"


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path):
    def start(redis_url=None, *arguments):
        # By name, as the real one: a thread of the worker resolves it, and stays for a while.
        base_url = start_exchange(public_rate=0).url.replace("127.0.0.1", "localhost")
        settings = {} if redis_url is None else {"RECONCILER_REDIS_URL": redis_url}
        return start_process(
            "start", "--json", "--log-level", "DEBUG", "--symbols", "BTC-USD", "--timeframes", "1m",
            "--gap-scan-cron", NEVER, "--full-reconcile-cron", NEVER, "--batch-size", "100", "--workers", "1",
            "--base-url", base_url, "--data-dir", str(tmp_path / "data"), "--listen", "off", *arguments,
            environment=clean_environment(**settings),
        )  # fmt: skip

    return start


def ended(running):
    return running.process.wait(60)


def tell_all(*pids: int) -> None:
    """Send each SIGTERM; some may have ended of the word to those before."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def test_every_fault_of_start_is_named_at_once(run_inside, tmp_path):
    done = run_inside("start", "--workers", "0", "--log-level", "LOUD", "--config", tmp_path / "none.toml")
    assert done.code == 78
    said = done.err
    assert "--log-level 'LOUD': allowed: DEBUG, INFO, WARNING, ERROR" in said
    assert "workers '0' (from --workers): allowed" in said
    assert "symbols is empty: allowed" in said
    assert "cannot be read: No such file or directory" in said
    assert len(said.splitlines()) == 4


def test_a_simulation_takes_no_other_cache_and_no_other_exchange(run_inside):
    done = run_inside(
        "start", "--simulate", "--redis-url", "redis://127.0.0.1", RECONCILER_BASE_URL="https://api.coinbase.com"
    )
    assert done.code == 78
    assert "redis_url (from --redis-url) does not go with --simulate" in done.err
    assert "base_url (from RECONCILER_BASE_URL) does not go with --simulate" in done.err


def test_a_password_on_the_command_line_is_refused_and_not_repeated(run_inside):
    for command in ("start", "scan", "reconcile"):
        done = run_inside(command, "--symbols", "BTC-USD", "--redis-url", f"redis://:{CANARY}@127.0.0.1")
        assert done.code == 78
        assert "a password on a command line is visible" in done.err
        assert CANARY not in done.out + done.err


def test_a_term_while_redis_is_away_ends_in_order(start_engine, own_server):
    engine = start_engine(own_server.url)
    engine.wait_event("pass done", job="full_reconcile")
    own_server.kill()
    engine.wait_event("waiting for Redis")
    below = descendants(engine.process.pid)
    assert below
    engine.process.send_signal(signal.SIGTERM)
    assert ended(engine) == 0
    wait_gone(below)
    # the pages were turned off
    assert not [line for line in engine.read_all() if '"event": "pages"' in line or '"child": "web"' in line]


def test_a_term_that_all_processes_get_while_they_start_ends_in_order(start_engine):
    """As systemd and containers send it: it kills a process that has no handler yet."""
    engine = start_engine()
    engine.wait_event("child ready", child="redis")
    while len(below := descendants(engine.process.pid)) < 3:
        time.sleep(0.01)
    tell_all(engine.process.pid, *below)
    assert ended(engine) == 0
    wait_gone(below)


@pytest.mark.slow
def test_terms_that_all_processes_get_over_and_over_kill_none_of_them(start_engine, redis_url):
    """A service manager that tells the whole group; the supervisor tells its children as well."""
    engine = start_engine(redis_url)
    engine.wait_event("pass done")
    (worker,) = descendants(engine.process.pid)
    while is_there(worker):
        tell_all(engine.process.pid, worker)
        time.sleep(0.001)
    assert ended(engine) == 0
    told = engine.read_all()
    assert not any("child died" in line for line in told)
    assert "stopped: nothing of this engine runs any more" in told[-1]


def test_a_simulation_tells_where_its_candles_are_and_ends_in_order_while_it_starts(
    start_process, run_inside, tmp_path
):
    place = {"XDG_DATA_HOME": str(tmp_path)}
    engine = start_process(
        "start", "--simulate", "--json", environment=clean_environment(**place, RECONCILER_WORKERS="1")
    )
    directory = tmp_path / "reconciler-engine-simulated"
    wait_until(lambda: directory.exists() and DataDirectory(directory).find_running() is not None)
    invented = f"--data-dir {directory}"
    real = run_inside("journal", **place)
    assert (real.code, real.err) == (0, f"reconciler-engine: `start --simulate` runs; {invented} asks of its candles\n")
    asked = run_inside("journal", *invented.split(), **place)
    assert (asked.code, asked.err) == (0, "")
    assert asked.out.startswith("SIMULATED\n")
    while len(below := descendants(engine.process.pid)) < 3:
        time.sleep(0.01)
    tell_all(engine.process.pid, *below)
    assert ended(engine) == 0
    wait_gone(below)


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_redis_that_is_gone_is_no_failure_where_all_processes_were_told_to_end(is_told):
    with nullcontext() if is_told else pytest.RaisesGroup(StoreUnavailable, flatten_subgroups=True):
        async with hear_orders(ChildList(os.getpid())) as orders:
            if is_told:
                orders.stop.set()
            raise StoreUnavailable("its server was told as well")
