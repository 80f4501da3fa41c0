"""Window of a full pass, and the keys it keeps alive: the newest bars and members, as their readers take them."""

from __future__ import annotations

import pytest
from tests.integration.engines import DENSE, MINUTE, T0, engine, truth

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.verification import Verify

HOURLY = Series("BTC-USD", Timeframe.H1)
NOW = T0 + 100 * 24 * 3_600_000 + MINUTE
WINDOW_MS = 6 * 3_600_000
LIFE_MS = 86_400_000


def full(*series: Series, bars: int = 20) -> PassRequest:
    return PassRequest("full", series, WINDOW_MS, verify=Verify.SUSPECTS, bars=bars)


async def test_holes_among_the_newest_bars_are_filled_whatever_the_timeframe(redis_url):
    async with engine(redis_url, max_candles=1_000) as run:
        await run.turn_to(NOW)
        assert (await run.parts.reconciler.run_pass(full(HOURLY, bars=0))).series[0].expected == 6
        result = await run.parts.reconciler.run_pass(full(HOURLY))
        assert (result.series[0].expected, result.filled, len(await run.held(HOURLY))) == (20, 14, 20)
        survey = await run.parts.surveyor.survey([HOURLY], WINDOW_MS, bars=20)
        assert (survey.series[0].asked, survey.plan.requests) == (survey.series[0].examined, 0)


async def test_the_newest_members_are_looked_at_however_old(redis_url):
    async with engine(redis_url, max_candles=1_000) as run:
        await run.turn_to(NOW)
        step = HOURLY.timeframe.step_ms
        first = HOURLY.timeframe.floor(NOW) - 60 * step
        there = truth(HOURLY, Interval(first, first + 10 * step))
        for at, (open_, high, low, close, volume) in there.items():
            await run.put(HOURLY, Candle(at, open_, high, low, close, volume))
        # of ten members the newest five
        result = await run.parts.reconciler.run_pass(full(HOURLY, bars=5))
        assert result.series[0].expected == 50
        assert result.unresolved == 0


@pytest.mark.parametrize(
    ("member", "left_ms", "lives"),
    [
        ("candle", 1_000, True),
        ("candle", None, False),
        ("another's", 1_000, False),
    ],
)
async def test_a_key_that_holds_bars_of_its_product_lives_on(redis_url, member, left_ms, lives):
    async with engine(redis_url, ttl=LIFE_MS // 1_000, max_candles=1_000) as run:
        await run.turn_to(NOW)
        client, key = run.parts.client, run.key(DENSE)
        old = Candle(NOW - MINUTE - 3 * 24 * 3_600_000, 1.0, 1.0, 1.0, 1.0, 1.0)
        await run.put(Series("ETH-USD", Timeframe.M1) if member == "another's" else DENSE, old)
        if member == "another's":
            await client.execute_command("RENAME", run.key(Series("ETH-USD", Timeframe.M1)), key)
        if left_ms:
            await client.execute_command("PEXPIRE", key, left_ms * 60)
        # the keys alone: a pass that inserts prolongs them anyway
        await run.parts.keys.prolong([DENSE, HOURLY], LIFE_MS // 1_000)
        left = await client.execute_command("PTTL", key)
        assert (left > LIFE_MS // 2) is lives
        assert (left == -1) is (left_ms is None)


async def test_only_full_passes_prolong(redis_url):
    async with engine(redis_url, ttl=LIFE_MS // 1_000, max_candles=1_000) as run:
        await run.turn_to(NOW)
        await run.parts.reconciler.run_pass(full(HOURLY))
        await run.parts.client.execute_command("PEXPIRE", run.key(HOURLY), 60_000)
        await run.parts.reconciler.run_pass(full(HOURLY, bars=0))
        assert await run.parts.client.execute_command("PTTL", run.key(HOURLY)) <= 60_000
        result = await run.parts.reconciler.run_pass(full(HOURLY))
        assert result.filled == 0
        assert await run.parts.client.execute_command("PTTL", run.key(HOURLY)) > 60_000
