"""The service inside an asyncio program: the same engine, in a thread that ends with the block."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.conftest import plain_client
from tests.every_client import asyncio_client
from tests.integration.conftest import settled_grace_ms, wait_until

from reconciler_engine import AsyncioReconciliationService, ReconciliationConfig, is_ready
from reconciler_engine.engine.verify_run import VERIFY_BARS
from reconciler_engine.errors import ConfigError, StoreError, StoreUnavailable

NEVER = "0 0 1 1 *"
KEY = "candles:1:1:BTC-USD:5m"
GRACE_MS = settled_grace_ms(300_000)
PATIENCE_S = 30


@pytest.fixture
def service(start_exchange, redis_url):
    """Make a service over the test's own servers."""
    exchange = start_exchange(public_rate=0)

    def make(url=redis_url, **settings):
        base = {
            "base_url": exchange.url,
            "batch_size": 50,
            "gap_scan_cron": NEVER,
            "full_reconcile_cron": NEVER,
            "verify_cron": NEVER,
            "grace_ms": GRACE_MS,
            "window_bars": 3,
        }
        return AsyncioReconciliationService(None, None, url, ReconciliationConfig.check({**base, **settings}))

    yield make
    assert [thread.name for thread in threading.enumerate() if thread.name == "reconciler-engine"] == []


def is_filled(redis_url):
    with plain_client(redis_url) as client:
        return client.zcard(KEY) > 0


def run(body):
    """Run an asyncio program, which may take so long."""

    async def bounded():
        async with asyncio.timeout(2 * PATIENCE_S):
            return await body()

    return asyncio.run(bounded())


def test_passes_on_demand_fill_the_cache_and_the_gate_says_yes(service, redis_url):
    async def body():
        async with service(symbols=["BTC-USD"], timeframes=["5m"]) as engine:
            result = await engine.perform_full_reconciliation()
            assert result.filled == result.missing > 0
            assert (await engine.perform_gap_scan()).missing == 0
            assert (await engine.perform_verification()).errors == ()
        async with asyncio_client(redis_url) as client:
            return await is_ready(client, "BTC-USD", "5m", VERIFY_BARS, grace_ms=GRACE_MS, max_unverified_ms="any")

    assert run(body) is True


def test_start_and_stop_are_the_services_own(service, redis_url):
    async def body():
        async with service() as engine:
            with pytest.raises(ConfigError, match="symbols is empty"):
                await engine.perform_gap_scan()
            await engine.start(["BTC-USD"], ["5m"])
            with pytest.raises(RuntimeError, match="started already"):
                await engine.start(["BTC-USD"], ["5m"])
            # Each start begins with a full pass.
            await asyncio.to_thread(wait_until, lambda: is_filled(redis_url))
            await engine.stop()

    run(body)


def test_a_cancelled_call_ends_in_the_engine_and_the_service_goes_on(service):
    async def body():
        async with service(symbols=["BTC-USD"], timeframes=["5m"]) as engine:
            call = asyncio.ensure_future(engine.perform_full_reconciliation())
            await asyncio.sleep(0.05)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await engine.perform_full_reconciliation()).unresolved == 0

    run(body)


def test_an_error_of_the_body_leaves_as_itself(service):
    async def body():
        with pytest.raises(LookupError, match="mine"):
            async with service(symbols=["BTC-USD"], timeframes=["5m"]):
                raise LookupError("mine")

    run(body)


@pytest.mark.parametrize("pauses", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
def test_a_block_cancelled_anywhere_leaves_nothing_behind(service, redis_url, pauses):
    async def block():
        async with service(symbols=["BTC-USD"], timeframes=["5m"]) as engine:
            await engine.start()
            await engine.perform_full_reconciliation()
            await asyncio.sleep(PATIENCE_S)

    async def body():
        task = asyncio.ensure_future(block())
        await asyncio.sleep(pauses / 100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(body)
    with plain_client(redis_url) as client:
        assert not [key for key in client.keys("recon:*") if b":lease:" in key]


def test_a_failure_of_the_engine_cancels_the_block_and_is_raised(service, monkeypatch):
    async def fail(*_):
        raise StoreError("broken below")

    monkeypatch.setattr("reconciler_engine.engine.scheduled_passes.ScheduledPasses.keep_leases", fail)

    async def body():
        with pytest.raises(ExceptionGroup) as caught:
            async with service(symbols=["BTC-USD"], timeframes=["5m"]):
                await asyncio.sleep(PATIENCE_S)
        assert caught.group_contains(StoreError, match="broken below")
        # The cancel by which the block was told is spent.
        await asyncio.sleep(0)

    run(body)


def test_without_redis_it_does_not_open(service, tmp_path):
    async def body():
        with pytest.raises(StoreUnavailable):
            async with service(f"unix://{tmp_path}/none.sock", symbols=["BTC-USD"], timeframes=["5m"]):
                pass

    run(body)


def test_it_is_used_inside_its_block_and_once(service):
    async def body():
        engine = service(symbols=["BTC-USD"], timeframes=["5m"])
        with pytest.raises(RuntimeError, match="not open"):
            await engine.perform_gap_scan()
        async with engine:
            pass
        with pytest.raises(RuntimeError, match="entered once"):
            await engine.__aenter__()
        with pytest.raises(RuntimeError, match="ended before"):
            await engine.perform_gap_scan()

    run(body)
