"""An exchange that refuses, and work that is in a hurry: what two workers of a real tree ask for, by its own log."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import redis as redis_py
import trio
from tests.integration.conftest import clean_environment

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.tasks.page_request import ATTEMPTS
from reconciler_engine.engine.tasks.worker import PAGES_IN_FLIGHT
from reconciler_engine.limiting.redis_bucket import BucketStatistics

KEY = "candles:1:1:BTC-USD:1m"
NEVER = "0 0 1 1 *"
PAGES = 40
PATIENCE_S = 60.0
SERVED = 8
"""Pages that are served before the exchange refuses the first one."""

BLOCKED_S = 1.0
"""How late the exchange says that all are blocked."""

PAUSE_S = 0.25
"""From the report of a block until anybody asks again, at least: its pause comes a moment after it, and is longer."""


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path, own_server):
    """Start workers that repair so many pages of BTC-USD 1m."""

    def start(pages: int, rate: int, *, fault="", gap_scan_cron: str = NEVER, workers: int = 2, **environment: str):
        (tmp_path / "faults.toml").write_text(fault)
        exchange = start_exchange(public_rate=0, faults=tmp_path / "faults.toml")
        engine = start_process(
            "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--max-candles", "0", "--workers",
            str(workers),
            "--full-reconcile-window-ms", str(pages * 300 * 60_000), "--gap-scan-cron", gap_scan_cron,
            "--full-reconcile-cron", NEVER, "--batch-size", str(rate), "--listen", "off", "--base-url", exchange.url,
            "--data-dir", str(tmp_path / "data"),
            environment=clean_environment(RECONCILER_REDIS_URL=own_server.url, **environment),
        )  # fmt: skip
        return engine, exchange

    return start


def play(exchange, *modes: str, **settings: float) -> None:
    """Let the exchange answer every request for candles so, from now on."""
    rules = {"fault": [{"mode": mode, "path": "*/candles", **settings} for mode in modes]}
    request = urllib.request.Request(f"{exchange.url}/simulator/faults", json.dumps(rules).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        assert reply.status == 200


def wait_for(exchange, is_there):
    """Wait until the requests so far are as wanted; return them."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_there(asked := exchange.requests()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return asked


@pytest.mark.slow
def test_neither_refusals_for_rate_nor_blocks_cause_a_storm(start_engine, own_server):
    rate = 160
    engine, exchange = start_engine(
        PAGES,
        rate,
        fault=f'[[fault]]\nmode = "throttle"\npath = "*/candles"\nfirst = {SERVED + 1}',
        PYTHONPATH=str(Path(__file__).parent / "quick_blocks"),
    )
    budget = (own_server.url, exchange.url, rate)
    trio.run(wait_budget, *budget, lambda budget: budget.paused_ms > 0)
    # Late, so that others could ask before the answer to a request is known.
    play(exchange, "blocked", seconds=BLOCKED_S)
    wait_for(exchange, lambda asked: len(probes(asked)) >= 3)
    trio.run(wait_budget, *budget, lambda budget: budget.paused_ms > 0 and budget.breaker.blocked > 1)
    play(exchange)
    ended = ('"event": "pass done"', '"event": "pass degraded"')
    line = engine.wait_line(lambda line: any(one in line for one in ended) and '"job": "full_reconcile"' in line)
    errors = json.loads(line)["errors"]
    slowed = trio.run(wait_budget, *budget, lambda _: True)
    assert slowed.share < 1
    trio.run(wait_budget, *budget, lambda budget: budget.share > slowed.share)
    assert engine.stop() == 0

    asked = exchange.requests()
    by_page = {one["start"]: [each["status"] for each in asked if each["start"] == one["start"]] for one in asked}
    # Chance picks the page that asks alone: one that was refused at each of its attempts waits for the next pass.
    given_up = {one[-1] for one in by_page.values() if 200 not in one}
    assert {len(one) for one in by_page.values() if 200 not in one} <= {ATTEMPTS}
    assert set(errors) == {f"BTC-USD:1m: exchange limited the rate of requests: HTTP {status}" for status in given_up}
    assert max(map(len, by_page.values())) <= ATTEMPTS
    assert len(by_page) == PAGES
    # At most the requests under way when a refusal was told: one time, but for a slow machine.
    told = [json.loads(line) for line in engine.read_all() if '"exchange in trouble"' in line]
    turns = sum(one["answer"] == "throttled" for one in told)
    assert 0 < sum(one["status"] == 429 for one in asked) <= turns * 2 * PAGES_IN_FLIGHT

    probed = probes(asked)
    assert all(after - before >= BLOCKED_S + PAUSE_S for before, after in pairwise(probed))
    # Halved by the refusal and by each block, down to a sixteenth; a hundredth of the whole comes back a second.
    trouble_s = next(at for at, one in zip(times(asked), asked, strict=True) if one["status"] == 429)
    again_s = probed[-1] + BLOCKED_S
    served = [at for at in times(asked) if at > probed[-1]]
    share = 1 / 16 + (served[-1] - trouble_s) / 100
    # There is no burst after a pause.
    assert all(number <= 1 + rate * share * (at - again_s) for number, at in enumerate(served, 1))


def times(asked) -> list[float]:
    return [one["time_ms"] / 1_000 for one in asked]


def probes(asked) -> list[float]:
    """Return when pages were blocked again: their requests were probes, made after all pages were blocked."""
    seen: set[int] = set()
    found = []
    for at, one in zip(times(asked), asked, strict=True):
        if one["status"] == 403:
            if one["start"] in seen:
                found.append(at)
            seen.add(one["start"])
    return found


async def wait_budget(
    redis_url: str, base_url: str, rate: int, is_so: Callable[[BucketStatistics], bool]
) -> BucketStatistics:
    """Wait until the budget that all share is as wanted; return how it stands."""
    config = ReconciliationConfig.check({"base_url": base_url, "batch_size": rate})
    async with open_parts(config, redis_url, owns_server=False) as parts:
        with trio.fail_after(PATIENCE_S):
            while True:
                budget = await parts.bucket.statistics()
                if is_so(budget):
                    return budget
                await trio.sleep(0.01)


def test_a_fresh_gap_is_asked_for_before_the_rest_of_a_large_repair(start_engine, own_server):
    # Half a minute's work: more than a slow machine may take for the fresh gap.
    pages = 200
    engine, exchange = start_engine(pages, 6, gap_scan_cron="* * * * * *", workers=1)
    with redis_py.Redis.from_url(own_server.url) as client:

        def newest() -> tuple[bytes, int]:
            found = client.zrange(KEY, -1, -1, withscores=True)
            return (found[0][0], int(found[0][1]) // 1_000) if found else (b"", 0)

        asked = wait_for(exchange, lambda asked: len(asked) >= 3 and newest()[1] >= max(one["start"] for one in asked))
        member, start_s = newest()
        client.zrem(KEY, member)
    before = len(exchange.requests())
    asked = wait_for(exchange, lambda asked: any(one["end"] >= start_s for one in asked[before:]))
    # newest first, and the newest before pages queued long before it
    assert len({one["start"] for one in asked}) < pages
    assert engine.stop() == 0
