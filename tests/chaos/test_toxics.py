"""Every fault of the network, before Redis and before the exchange, in both directions: nothing waits for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import httpx
import pytest
import trio
from tests.chaos.invariants import check, end, settle
from tests.chaos.proxy import Proxy, Toxic, Way, open_proxy
from tests.chaos.schedule import toxics
from tests.chaos.waiting import PATIENCE_S
from tests.chaos.world import MINUTE, Plan, World, open_world

from reconciler_engine.coinbase.client import CoinbaseClient
from reconciler_engine.errors import SourceError, StoreError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.serving import open_exchange
from reconciler_engine.simulator.simulation import SimulatorSettings, build_exchange
from reconciler_engine.store.client.trio_redis import TrioRedis

SERIES = Series("BTC-USD", Timeframe.M1)
PLAN = Plan((Series("P1-USD", Timeframe.M1), Series("P2-USD", Timeframe.M1)), slots=900, requests_per_s=10)
HOLD_S = 35.0
NO_HANG_S = 30.0

EVERY = pytest.mark.parametrize("toxic", [toxic for way in Way for toxic in toxics(way)], ids=str)


async def attempt(call: Callable[[], Awaitable[object]]) -> object:
    """Return a call's result; None where it fails in one of the ways that are named."""
    try:
        return await call()
    except (StoreError, SourceError):
        return None


@EVERY
async def test_a_command_through_it_ends_and_the_next_one_works(redis, redis_server, toxic):
    await redis.set("key", b"before")
    with trio.fail_after(PATIENCE_S):
        async with (
            open_proxy(redis_server.plan.socket) as (proxy, where),
            TrioRedis.from_url(f"redis://{where}", timeout_s=PATIENCE_S) as client,
        ):
            assert await client.get("key") == b"before"
            proxy.set(toxic)
            assert await attempt(partial(client.execute_command, "GET", "key", timeout_s=1)) in (b"before", None)
            proxy.clear()
            assert await client.get("key") == b"before"


@EVERY
async def test_a_request_through_it_ends_and_the_next_one_works(toxic):
    page = Interval(1_767_225_600_000, 1_767_225_600_000 + 30 * MINUTE)
    exchange = build_exchange(SimulatorSettings(start=page.stop + MINUTE))
    with trio.fail_after(PATIENCE_S):
        async with (
            open_exchange(exchange) as url,
            open_proxy(("127.0.0.1", int(url.rpartition(":")[2]))) as (proxy, where),
            CoinbaseClient(f"http://{where}", silence_timeout_ms=round(PATIENCE_S * 1_000)) as client,
        ):
            whole = await client.fetch_candles(SERIES, page)
            proxy.set(toxic)
            patient, client._http.timeout = client._http.timeout, httpx.Timeout(1)
            assert await attempt(partial(client.fetch_candles, SERIES, page)) in (whole, None)
            client._http.timeout = patient
            proxy.clear()
            assert await client.fetch_candles(SERIES, page) == whole


async def hold(world: World, proxy: Proxy, toxic: Toxic) -> tuple[float, float]:
    """Have something to repair all the time while a toxic is in force; return the longest silence and the time to rest.

    Both in seconds: of the engine's side of the wire, and from the toxic's end until the cache is complete.
    """
    random = Random(3)
    began = trio.current_time()
    proxy.set(toxic)
    while trio.current_time() < began + HOLD_S:
        await world.damage(random, 50)
        await trio.sleep(1)
    ended = trio.current_time()
    proxy.clear()
    await settle(world)
    rested = trio.current_time()
    return proxy.longest_silence(began, rested), rested - ended


@pytest.mark.soak
@pytest.mark.parametrize("before", ["redis", "exchange"])
@EVERY
async def test_nothing_hangs_for_30_s_under_it(before, toxic, own_server, tmp_path, tell_figure):
    async with open_world(PLAN, tmp_path, own_server) as world:
        await settle(world)
        proxy = world.redis_proxy if before == "redis" else world.exchange_proxy
        assert proxy is not None
        silent_s, healed_s = await hold(world, proxy, toxic)
        tell_figure(
            f"{toxic} before {before} for {HOLD_S:g} s: longest silence {silent_s:.1f} s, "
            f"complete {healed_s:.1f} s after its end"
        )
        await check(world, held_s=HOLD_S)
        await end(world)
    assert silent_s <= NO_HANG_S
    assert healed_s <= NO_HANG_S
