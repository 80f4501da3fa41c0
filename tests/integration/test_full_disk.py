"""A server that takes no writes: it is told in words, once, and an engine that runs is not called away."""

from __future__ import annotations

import pytest
import trio
from tests.integration.conftest import clean_environment
from tests.integration.test_engine_redis_faults import refuse_writes

from reconciler_engine.engine.tasks.consumer_name import consumer_name
from reconciler_engine.store.client.redis_py import reply_error
from reconciler_engine.store.client.trio_redis import TrioRedis


@pytest.mark.parametrize(("word", "why"), [("OOM", "memory is full"), ("MISCONF", "could not write its last snapshot")])
def test_status_tells_that_an_engine_runs_and_cannot_write(own_server, run_inside, word, why):
    node = consumer_name()

    async def fill_up(name: str) -> None:
        async with TrioRedis.from_url(own_server.url) as client:
            await client.execute_command("HSET", "recon:engines", "recon:{1:1:x}:status:gone", name)
            await refuse_writes(own_server, client, word)

    trio.run(fill_up, node)
    done = run_inside("status", "--redis-url", own_server.url)
    assert done.code == 69
    assert f"{node} runs and cannot write its status: Redis takes no writes: " in done.err
    assert why in done.err


def test_a_refusal_of_all_writes_is_told_in_words():
    raw = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands"
    told = "redis takes no writes: it cannot write to its disk, which may be full (MISCONF)"
    assert str(reply_error(raw)) == told


def test_the_log_of_an_engine_tells_a_full_disk_once_an_event(start_process, start_exchange, own_server, tmp_path):
    exchange = start_exchange(public_rate=0)
    engine = start_process(
        "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1h", "--gap-scan-cron", "* * * * * *", "--workers",
        "1", "--listen", "off", "--base-url", exchange.url, "--batch-size", "100", "--data-dir", str(tmp_path / "data"),
        environment=clean_environment(RECONCILER_REDIS_URL=own_server.url),
    )  # fmt: skip
    engine.wait_event("pass done", job="full_reconcile")

    async def fill_up() -> None:
        async with TrioRedis.from_url(own_server.url) as client:
            await refuse_writes(own_server, client, "MISCONF")

    trio.run(fill_up)
    first = engine.wait_event("tick skipped", job="gap_scan", level="WARNING")
    while "MISCONF" not in first["reason"]:
        first = engine.wait_event("tick skipped", job="gap_scan")
    # some ticks later
    engine.wait_event("tick skipped", job="verify")
    engine.stop()
    told = [line for line in engine.read_all() if '"tick skipped"' in line and "MISCONF" in line]
    assert sum('"job": "gap_scan"' in line for line in told) == 1
