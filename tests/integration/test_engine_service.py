"""The service as a host's own trio program uses it: a real Redis, a simulated exchange on a real socket."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.chaos.waiting import wait_until_so
from tests.integration.conftest import settled_grace_ms

import reconciler_engine
from reconciler_engine import ReconciliationConfig, ReconciliationService, is_ready
from reconciler_engine.engine.parts import make_parts
from reconciler_engine.engine.verify_run import VERIFY_BARS
from reconciler_engine.errors import ConfigError, SourceUnavailable, StoreUnavailable
from reconciler_engine.observe.status import EngineStatus
from reconciler_engine.scheduling.job import Job
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.leases import JobLeases
from reconciler_engine.store.scope import Scope
from reconciler_engine.store.status_board import StatusBoard

COMMAND = Path(sys.executable).parent / "reconciler-engine"
NEVER = "0 0 1 1 *"
KEY = "candles:1:1:BTC-USD:5m"
ENDLESS_MS = 3_600_000
# Nothing here takes so long unless it hangs.
PATIENCE_S = 30


@pytest.fixture(scope="module")
def exchange_url():
    """A simulated exchange for all of these tests."""
    process = subprocess.Popen([COMMAND, "simulate", "--public-rate", "0"], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("listening on ").strip()
        process.terminate()


@pytest.fixture
def config(exchange_url):
    """Make settings for the exchange; jobs that never fire by themselves."""

    def make(**settings):
        base = {
            "base_url": exchange_url,
            "batch_size": 50,
            "gap_scan_cron": NEVER,
            "full_reconcile_cron": NEVER,
            "verify_cron": NEVER,
            "grace_ms": settled_grace_ms(300_000),
        }
        # six hours, for every timeframe
        return ReconciliationConfig.check({**base, "window_bars": 3, **settings})

    return make


async def open_times(redis):
    return [json.loads(member)["timestamp"] for member in await redis.zrange(KEY, 0, -1)]


async def holds(redis, count):
    return await redis.zcard(KEY) >= count


async def status_when(redis, is_so: Callable[[EngineStatus], object]) -> EngineStatus:
    """How the engine stands as soon as that is as wanted."""
    while True:
        found = await StatusBoard(redis).read()
        if found and is_so(found[0]):
            return found[0]
        await trio.sleep(0.05)


@asynccontextmanager
async def opened(service):
    with trio.fail_after(PATIENCE_S):
        async with service:
            yield service


async def test_passes_on_demand_fill_the_cache_and_say_so(redis, config):
    settings = config(symbols=["BTC-USD"], timeframes=["5m"])
    async with opened(ReconciliationService(None, None, redis, settings)) as service:
        first = await service.perform_full_reconciliation()
        assert isinstance(first, reconciler_engine.ReconciliationResult)
        assert (first.missing, first.filled, first.gaps_found, first.gaps_filled) == (72, 72, 1, 1)
        assert first.errors == ()
        assert await is_ready(redis, "BTC-USD", "5m", 72, grace_ms=settings.grace_ms) is True
        held = await open_times(redis)
        await redis.zremrangebyscore(KEY, held[-2], held[-2])
        assert await is_ready(redis, "BTC-USD", "5m", 2, grace_ms=settings.grace_ms) is False
        second = await service.perform_gap_scan()
        assert (second.missing, second.filled, second.requests) == (1, 1, 1)
        assert await open_times(redis) == held
        third = await service.perform_verification()
        # its window is longer
        assert ([row.timeframe for row in third.series], third.missing, third.filled) == (["5m"], 228, 228)
    # the caller's client is not closed
    assert await redis.ping()


@pytest.mark.usefixtures("short_retries")
async def test_symbols_may_be_chosen(redis, config):
    async with opened(ReconciliationService(None, None, redis, config(symbols="all:USDC", timeframes="1d"))) as service:
        first = await service.perform_full_reconciliation()
        assert [row.symbol for row in first.series] == ["BTC-USDC"]
        await service.start(["all:USDC", "ETH-USD"], ["1d"])
        second = await service.perform_full_reconciliation()
        assert [row.symbol for row in second.series] == ["BTC-USDC", "ETH-USD"]
    nowhere = config(symbols="top:1:USD", base_url="http://127.0.0.1:9")
    with (
        trio.fail_after(PATIENCE_S),
        pytest.raises(SourceUnavailable, match="no product list to choose symbols top:1:USD"),
    ):
        await ReconciliationService(None, None, redis, nowhere).__aenter__()


@pytest.mark.usefixtures("short_retries")
async def test_a_key_has_a_budget_of_its_own(redis, config):
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    settings = config(symbols=["BTC-USD"], timeframes=["1d"])
    async with opened(ReconciliationService("organizations/x/apiKeys/y", key, redis, settings)) as service:
        # the exchange here knows no key at all
        refused = await service.perform_full_reconciliation()
    assert refused.filled == 0
    assert "exchange refused the credentials: HTTP 401 several times in a row" in refused.errors[0]
    (bucket,) = await redis.keys("*:budget:*")
    assert b":budget:key-" in bucket


async def test_start_begins_with_one_full_pass_and_goes_on_by_the_schedule(redis, config):
    service = ReconciliationService(None, None, redis, config(gap_scan_cron="* * * * * *"))
    async with opened(service):
        await service.start(["BTC-USD"], ["5m"])
        # The full pass fills its six hours, and the verify run that follows the rest of what it looks at.
        await wait_until_so(lambda: holds(redis, VERIFY_BARS))
        held = await open_times(redis)
        await redis.zremrangebyscore(KEY, held[-1], held[-1])
        await wait_until_so(lambda: holds(redis, len(held)))
        assert await open_times(redis) == held
        await service.stop()
        assert await StatusBoard(redis).read() == []


async def test_a_schedule_that_ends_before_a_run_begins_leaves_its_job_to_others(redis, config, monkeypatch):
    monkeypatch.setattr(Job, "delay", lambda *_: ENDLESS_MS)
    settings = config(gap_scan_cron="* * * * * *")
    async with opened(ReconciliationService(None, None, redis, settings)) as service:
        await service.start(["BTC-USD"], ["1d"])
        # Taken for the tick, whose run waits out its jitter.
        await wait_until_so(lambda: redis.keys("recon:*:lease:gap_scan"))
        await service.stop()
        assert await redis.keys("recon:*:lease:gap_scan") == []
        assert (await service.perform_gap_scan()).errors == ()


async def test_a_schedule_that_ends_while_a_lease_is_on_its_way_leaves_its_job_to_others(redis, config, monkeypatch):
    taken, heard = trio.Event(), trio.Event()
    take = JobLeases.take

    async def take_and_hear_late(leases, job, tick=None):
        lease = await take(leases, job, tick)
        taken.set()
        await heard.wait()
        return lease

    async with opened(ReconciliationService(None, None, redis, config(gap_scan_cron="* * * * * *"))) as service:
        await service.start(["BTC-USD"], ["1d"])
        monkeypatch.setattr(JobLeases, "take", take_and_hear_late)
        await taken.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.stop)
            await trio.testing.wait_all_tasks_blocked()
            heard.set()
        assert await redis.keys("recon:*:lease:*") == []


async def test_it_shows_itself_while_it_runs(redis, config):
    async with opened(ReconciliationService(None, None, redis, config())) as service:
        await service.start(["BTC-USD"], ["5m", "1h"])
        await service.perform_full_reconciliation()
        status = await status_when(redis, lambda status: status.jobs[1].last_result)
        assert status.command == "ReconciliationService"
        assert [job.name for job in status.jobs] == ["gap_scan", "full_reconcile", "verify"]
        assert [process.role for process in status.processes] == ["service"]
        assert status.budget is not None
        assert status.budget.rate_per_s == 50


async def test_a_pass_on_demand_waits_for_the_open_one_and_is_its_own(redis, config):
    settings = config(symbols=["BTC-USD"], timeframes=["5m"])
    other = JobLeases(redis, Scope.of(1, 1, settings.base_url), "another engine", life_ms=ENDLESS_MS)
    async with opened(ReconciliationService(None, None, redis, settings)) as service:
        lease = await other.take("full_reconcile")
        assert lease is not None
        results = []

        async def perform() -> None:
            results.append(await service.perform_full_reconciliation())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(perform)
            # the other kind of pass is not in its way
            scanned = await service.perform_gap_scan()
            assert results == []
            await other.release(lease)
        assert scanned.missing == 6
        assert results[0].missing == 72 - 6
        assert not await other.is_held("full_reconcile")


async def test_a_tick_is_skipped_while_another_engine_runs_the_job(redis, config):
    settings = config(gap_scan_cron="* * * * * *")
    other = JobLeases(redis, Scope.of(1, 1, settings.base_url), "another engine", life_ms=ENDLESS_MS)
    await other.take("gap_scan")
    async with opened(ReconciliationService(None, None, redis, settings)) as service:
        await service.start(["BTC-USD"], ["5m"])
        status = await status_when(redis, lambda status: status.jobs[0].skipped)
        assert status.jobs[0].runs == 0


async def test_a_run_past_its_deadline_is_ended_and_counted_and_the_job_is_free(redis, config):
    # no permit is to be had
    settings = config(gap_scan_cron="* * * * * *", gap_scan_max_run_ms=1_500)
    parts = make_parts(settings, redis, owns_server=False, consumer="test")
    await parts.bucket.converse(parts.bucket.steps.push_back(60_000))
    async with opened(ReconciliationService(None, None, redis, settings)) as service:
        await service.start(["BTC-USD"], ["5m"])
        status = await status_when(redis, lambda status: status.jobs[0].timed_out and status.jobs[0].skipped)
        assert status.jobs[0].last_error == "timed out after 1.5 s"
        assert status.budget is not None
        assert status.budget.paused_ms > 0
        await status_when(redis, lambda status: status.jobs[0].runs > 1)


async def test_start_may_follow_stop_with_other_series(redis, config):
    async with opened(ReconciliationService(None, None, redis, config())) as service:
        await service.start(["BTC-USD"], ["5m"])
        with pytest.raises(RuntimeError, match="started already"):
            await service.start(["BTC-USD"], ["5m"])
        await service.stop()
        await service.stop()
        await service.start(["ETH-USD"], ["1h"])
        result = await service.perform_gap_scan()
        assert [(row.symbol, row.timeframe) for row in result.series] == [("ETH-USD", "1h")]


async def test_leaving_stores_the_pages_in_hand_and_leaves_nothing_behind(redis, config):
    settings = config(max_candles=0, full_reconcile_window_ms=300 * 300_000 * 20, batch_size=10)
    async with opened(ReconciliationService(None, None, redis, settings)) as service:
        await service.start(["BTC-USD"], ["5m"])
        await wait_until_so(lambda: holds(redis, 600))
    held = await redis.zcard(KEY)
    assert held % 300 == 0
    assert held < 20 * 300
    tag = Scope.of(1, 1, settings.base_url).key("")
    runs = [key async for key in redis.scan_iter(f"{tag}run:*")]
    leases = [key async for key in redis.scan_iter(f"{tag}lease:*")]
    assert (runs, leases) == ([], [])
    for lane in ("scan", "live", "deep"):
        assert await redis.xinfo_consumers(f"{tag}tasks:{lane}", "workers") == []


async def test_a_cancelled_pass_ends_and_the_service_goes_on(redis, config):
    settings = config(
        symbols=["BTC-USD"], timeframes=["5m"], max_candles=0, batch_size=2, full_reconcile_window_ms=300 * 300_000 * 20
    )
    async with opened(ReconciliationService(None, None, redis, settings)) as service:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(service.perform_full_reconciliation)
                await wait_until_so(lambda: holds(redis, 1))
                scope.cancel()
        assert (await service.perform_gap_scan()).unresolved == 0


async def test_an_error_of_the_body_leaves_as_itself(redis, config):
    async def fail() -> None:
        async with opened(ReconciliationService(None, None, redis, config())) as service:
            await service.start(["BTC-USD"], ["5m"])
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def test_cancelling_the_block_ends_at_once(redis, config):
    with trio.move_on_after(PATIENCE_S) as scope:
        async with ReconciliationService(None, None, redis, config()) as service:
            await service.start(["BTC-USD"], ["5m"])
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_url_is_opened_and_closed(redis_url, config):
    service = ReconciliationService(None, None, redis_url, config(symbols=["BTC-USD"], timeframes=["1h"]))
    async with opened(service):
        assert (await service.perform_gap_scan()).unresolved == 0
    with pytest.raises(RuntimeError, match="entered once"):
        async with service:
            pass


async def test_it_is_used_inside_its_block_with_series(redis, config):
    service = ReconciliationService(None, None, redis, config())
    with pytest.raises(RuntimeError, match="inside `async with`"):
        await service.start(["BTC-USD"])
    async with opened(service):
        with pytest.raises(ConfigError, match="symbols is empty"):
            await service.perform_gap_scan()
        with pytest.raises(ConfigError) as refused:
            await service.start(["btc"], ["3m"])
        assert len(refused.value.faults) == 2
        with pytest.raises(ConfigError, match="symbols is empty"):
            await service.start([], ["1m"])
    with pytest.raises(RuntimeError, match="inside `async with`"):
        await service.perform_gap_scan()


async def test_without_redis_it_does_not_open(tmp_path, config):
    service = ReconciliationService(None, None, f"unix://{tmp_path}/none.sock", config())
    with pytest.raises(StoreUnavailable):
        async with opened(service):
            pass


def test_every_fault_of_the_constructor_is_named_and_no_secret():
    with pytest.raises(ConfigError) as refused:
        ReconciliationService("key", None, "http://user:hidden@host", ReconciliationConfig())
    text = str(refused.value)
    assert "go together" in text
    assert "redis" in text
    assert "hidden" not in text
    with pytest.raises(ConfigError) as refused:
        ReconciliationService("key", "-----BEGIN secret", "redis://localhost", ReconciliationConfig())
    assert "secret" not in str(refused.value)


def test_its_repr_shows_no_password():
    service = ReconciliationService(None, None, TrioRedis.from_url("redis://user:hidden@localhost:1"))
    assert "hidden" not in repr(service)
    assert "localhost" in repr(service)
