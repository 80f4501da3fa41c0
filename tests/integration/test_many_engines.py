"""Eight engines of two workers each on one Redis: each worker has work, one budget holds, and none of them is large."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.chaos.invariants import LATE_S, budget_excess
from tests.chaos.waiting import watching_stalls
from tests.integration.conftest import clean_environment
from tests.integration.test_web import NEVER

from reconciler_engine.observe.words import iso

ENGINES, WORKERS = 8, 2
RATE_PER_S = 30
MOST_MIB = 65
DAYS = 20
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


def peak_mib(pid: int) -> float:
    """Most memory that a process ever held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.soak
def test_eight_engines_share_work_and_budget_and_stay_small(
    start_process, start_exchange, own_server, tmp_path, run_inside, tell_figure
):
    exchange = start_exchange(public_rate=0)
    settings = {
        "RECONCILER_REDIS_URL": own_server.url,
        "RECONCILER_BASE_URL": exchange.url,
        "RECONCILER_BATCH_SIZE": str(RATE_PER_S),
        "RECONCILER_MAX_CANDLES": "0",
    }

    def start(number: int):
        return start_process(
            "start", "--json", "--log-level", "DEBUG", "--symbols", "BTC-USD", "--timeframes", "1d", "--workers",
            str(WORKERS), "--listen", "off", "--gap-scan-cron", NEVER, "--full-reconcile-cron", NEVER, "--verify-cron",
            NEVER, "--data-dir", str(tmp_path / str(number)), environment=clean_environment(**settings),
        )  # fmt: skip

    with watching_stalls() as stalled_s:
        engines = []
        pids = []
        for number in range(ENGINES):
            # One after the other: 24 processes that start at once take a busy machine minutes.
            engines.append(start(number))
            pids += [engines[-1].wait_event("child ready")["pid"] for _ in range(WORKERS)]
        since = iso(int(time.time() - DAYS * 86_400) * 1_000)
        done = run_inside("backfill", *SYMBOLS, "1m", "--from", since, "--json", **settings)
        assert done.code == 0, done.err
    peaks = [peak_mib(pid) for pid in pids]
    assert [engine.stop() for engine in engines] == [0] * ENGINES
    tasks = Counter(
        (number, said["process"])
        for number, engine in enumerate(engines)
        for line in engine.read_all()
        if line.startswith("{") and (said := json.loads(line))["event"] == "task done"
    )
    asked = sorted(one["time_ms"] / 1_000 for one in exchange.requests())
    tell_figure(
        f"{ENGINES} engines x {WORKERS} workers, {len(asked)} requests in {asked[-1] - asked[0]:.0f} s at {RATE_PER_S} "
        f"a second: tasks a worker {min(tasks.values())} to {max(tasks.values())}, peak memory "
        f"{min(peaks):.0f} to {max(peaks):.0f} MiB; load {os.getloadavg()[0]:.1f}"
    )
    assert len(tasks) == ENGINES * WORKERS
    assert budget_excess(asked, RATE_PER_S, LATE_S + stalled_s()) <= 1
    assert max(peaks) <= MOST_MIB
