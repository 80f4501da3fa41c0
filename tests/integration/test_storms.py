"""An exchange that refuses, and work that is in a hurry: what two workers of a real tree ask for, by its own log."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import redis as redis_py
import trio
from tests.integration.conftest import clean_environment

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.assembly import open_parts
from reconciler_engine.engine.backfill import ATTEMPTS
from reconciler_engine.engine.worker import PAGES_IN_FLIGHT

KEY = "candles:1:1:BTC-USD:1m"
NEVER = "0 0 1 1 *"
PAGES = 40
PATIENCE_S = 60.0
PAUSE_S = 0.5
"""The least pause after a refusal: half of a second is certain."""

BLOCKED_S = 1.0
"""How late the exchange says that all are blocked."""

LATE_S = 0.5
"""A permit may be used 250 ms late, and a request takes its time."""


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path, own_server):
    """Start workers that repair so many pages of BTC-USD 1m."""

    def start(pages: int, rate: int, gap_scan_cron: str = NEVER, workers: int = 2, **environment: str):
        exchange = start_exchange(public_rate=0)
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


def test_neither_refusals_for_rate_nor_blocks_cause_a_storm(start_engine, own_server):
    rate = 160
    engine, exchange = start_engine(PAGES, rate, PYTHONPATH=str(Path(__file__).parent / "quick_blocks"))
    wait_for(exchange, lambda asked: len(asked) >= 8)
    play(exchange, "throttle")
    wait_for(exchange, lambda asked: any(one["status"] == 429 for one in asked))
    # Late, so that others could ask before it is known what came of a request.
    play(exchange, "blocked", seconds=BLOCKED_S)
    engine.wait_event("exchange in trouble", answer="blocked")
    # Who had a permit by then has used it.
    known_s = time.time() + LATE_S
    wait_for(exchange, lambda asked: len(probes(asked, known_s)) >= 3)
    play(exchange)
    errors = engine.wait_event("pass done", job="full_reconcile")["errors"]
    trio.run(wait_recovering, own_server.url, exchange.url, rate)
    assert engine.stop() == 0

    asked = exchange.requests()
    # Who asks alone is left to chance: a page that was refused at each of its attempts waits for the next pass.
    refused = Counter(one["start"] for one in asked if one["status"] != 200)
    gave_up = sum(often == ATTEMPTS for often in refused.values())
    assert max(refused.values()) <= ATTEMPTS
    assert errors == ["BTC-USD:1m: exchange refused for rate: HTTP 403"] * bool(gave_up)
    assert len({one["start"] for one in asked if one["status"] == 200}) == PAGES - gave_up
    # each worker's requests that were under way when the first refusal came, at most
    assert len(turn_of(asked, 429)) <= 2 * PAGES_IN_FLIGHT
    probed = probes(asked, known_s)
    assert statuses(asked).count(403) <= 2 * PAGES_IN_FLIGHT + len(probed)
    assert all(after - before >= BLOCKED_S + PAUSE_S for before, after in pairwise(probed))
    instants = times(asked)
    trouble_s = instants[statuses(asked).index(429)]
    served = instants[instants.index(probed[-1]) + 1 :]
    # Halved by the refusal and by each block, down to a sixteenth; a hundredth of the whole comes back a second.
    share = 1 / 16 + (served[-1] - trouble_s) / 100
    assert_within(served, rate * share)


def times(asked) -> list[float]:
    return [one["time_ms"] / 1_000 for one in asked]


def statuses(asked) -> list[int]:
    return [one["status"] for one in asked]


def turn_of(asked, status: int) -> list[float]:
    """The requests from the first one with that answer until everybody paused."""
    if status not in statuses(asked):
        return []
    instants = times(asked)[statuses(asked).index(status) :]
    paused = (number for number, (one, next_) in enumerate(pairwise(instants)) if next_ - one >= PAUSE_S)
    return instants[: next(paused, len(instants) - 1) + 1]


def probes(asked, known_s: float) -> list[float]:
    """The requests that were blocked after it was known that all are."""
    return [at for at, status in zip(times(asked), statuses(asked), strict=True) if status == 403 and at > known_s]


def assert_within(instants: Sequence[float], rate_per_s: float) -> None:
    """In no window more than one and the rate allow; there is no burst after a pause."""
    for first, begin in enumerate(instants):
        for last, end in enumerate(instants[first:]):
            assert last + 1 <= 1 + rate_per_s * (end - begin + LATE_S)


async def wait_recovering(redis_url: str, base_url: str, rate: int) -> None:
    """The rate that all share is below the configured one, and grows."""
    config = ReconciliationConfig.check({"base_url": base_url, "batch_size": rate})
    async with open_parts(config, redis_url, owns_server=False) as parts:
        share = (await parts.bucket.statistics()).share
        assert share < 1
        with trio.fail_after(PATIENCE_S):
            while True:
                if (await parts.bucket.statistics()).share > share:
                    break
                await trio.sleep(0.01)


def test_a_fresh_gap_is_asked_for_before_the_rest_of_a_large_repair(start_engine, own_server):
    pages = 60
    engine, exchange = start_engine(pages, 6, gap_scan_cron="* * * * * *", workers=1)
    with redis_py.Redis.from_url(own_server.url) as client:
        wait_for(exchange, lambda asked: len(asked) >= 3 and client.zcard(KEY) >= 300)
        (newest,) = client.zrange(KEY, -1, -1, withscores=True)
        client.zrem(KEY, newest[0])
        start_s = int(newest[1]) // 1_000
        before = len(exchange.requests())
        wait_for(exchange, lambda asked: any(one["end"] >= start_s for one in asked[before:]))
    # newest first, and the newest before what was queued long before it
    assert len({one["start"] for one in exchange.requests()}) < pages
    assert engine.stop() == 0
