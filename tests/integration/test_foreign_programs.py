"""Programs that are not ours beside a real engine: one budget, and nothing traded that is not ready."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.chaos.invariants import LATE_S, budget_excess
from tests.chaos.waiting import watching_stalls
from tests.conftest import plain_client
from tests.integration.conftest import PATIENCE_S, clean_environment, wait_until

from reconciler_engine import is_ready

PROGRAM = Path(__file__).parent / "children" / "foreign_program.py"
BOT = Path(__file__).parents[2] / "python" / "examples" / "asyncio_bot.py"
RATE = 5
MINUTE = 60_000
BARS = 200


@pytest.fixture
def run_beside():
    """Start programs that are gone when the test ends."""
    with ExitStack() as stack:

        def start(*words, **options):
            process = subprocess.Popen([sys.executable, *map(str, words)], **options)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def engine(start_process, start_exchange, redis_url, tmp_path):
    """A real engine that looks for gaps every second."""
    exchange = start_exchange(public_rate=0)
    process = start_process(
        *("start", "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--gap-scan-cron", "* * * * * *"),
        *("--batch-size", str(RATE), "--base-url", exchange.url, "--redis-url", redis_url, "--workers", "1"),
        *("--data-dir", str(tmp_path / "engine"), "--listen", "off"),
    )
    process.wait_event("pass done", job="full_reconcile")
    return exchange


def instants(exchange):
    """When the exchange was asked for anything (s)."""
    return [json.loads(line)["time_ms"] / 1_000 for line in exchange.log.read_text().splitlines()]


def asked_time(exchange):
    return sum("/time" in line for line in exchange.log.read_text().splitlines())


# The same for five minutes in simulated time: tests/unit/test_limiting_priority.py.
@pytest.mark.parametrize(
    "seconds", [pytest.param(4, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.soak)]
)
def test_three_programs_and_an_engine_keep_one_budget(engine, redis_url, run_beside, tell_figure, seconds):
    lost = 0
    with watching_stalls() as stalled_s:
        programs = [run_beside(PROGRAM, kind, redis_url, engine.url, "low") for kind in ("sync", "asyncio", "trio")]
        wait_until(lambda: asked_time(engine) >= RATE)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            lost += lose_a_bar(redis_url)
            wait_until(lambda: ready(redis_url))
        for program in programs:
            # One ends as it likes, two in the middle of their work.
            program.send_signal(signal.SIGKILL)
            program.wait(PATIENCE_S)
        lost += lose_a_bar(redis_url)
        wait_until(lambda: ready(redis_url))
    at = instants(engine)
    late_s = LATE_S + stalled_s()
    tell_figure(
        f"three programs and an engine, {seconds} s: {len(at)} requests, {asked_time(engine)} of the programs, "
        f"{lost} lost bars filled meanwhile; {budget_excess(at, RATE, late_s):.1f} beyond burst and rate (allowed: 1)"
    )
    assert budget_excess(at, RATE, late_s) <= 1
    assert asked_time(engine) > RATE
    assert lost > 0


def ready(redis_url):
    with plain_client(redis_url) as client:
        return is_ready(client, "BTC-USD", "1m", BARS, max_unverified_ms="any")


def lose_a_bar(redis_url):
    with plain_client(redis_url) as client:
        key = "candles:1:1:BTC-USD:1m"
        return client.zrem(key, *client.zrange(key, -20, -20))


def test_an_asyncio_bot_trades_on_nothing_that_is_not_ready(engine, redis_url, run_beside):
    bot = run_beside(
        *(BOT, redis_url, engine.url, "BTC-USD", "1m", BARS, 5),
        stdout=subprocess.PIPE, text=True, env=clean_environment(PYTHONWARNINGS="error"),
    )  # fmt: skip
    assert bot.stdout is not None
    told = []
    with bot.stdout:
        for line in bot.stdout:
            told.append(line.strip())
            # The next round meets a cache that lacks a bar, before it reads or while, and waits for the engine.
            lose_a_bar(redis_url)
    assert bot.wait(PATIENCE_S) == 0
    trades = [[int(number) for number in re.findall(r"\d+", line)] for line in told if line.startswith("trade on")]
    assert trades
    # No bar was missing among those that it traded on.
    assert all(count == BARS and last - first == (BARS - 1) * MINUTE for count, first, last in trades)
    assert asked_time(engine) >= len(trades)
