"""A cache as the real feeder leaves it: wrong bars beside gaps, repaired, or told and left where that is set."""

from __future__ import annotations

import pytest
import trio
from tests.integration.engines import DENSE, MARKET, MINUTE, T0, Engine, engine, truth, verify_of

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.engine.simulated_feeder.feeder import Feeder, FeederSettings
from reconciler_engine.engine.simulated_feeder.losses import FeedLosses
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.result import ReconciliationResult
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.sightings import APART_MS
from reconciler_engine.simulator.simulated_clock import SimulatedClock

HOURS = 4
SERIES = [Series(DENSE.symbol, Timeframe(name)) for name in ("1m", "5m", "15m", "1h")]
# Each reconnect leaves two sockets alive.
LOSSES = FeedLosses(seed=3, disconnects_per_hour=2, outage_ms=(60_000, 140_000), lost_share=0.05, twin_share=1)


async def feed(run: Engine) -> None:
    """Four hours of the feed in seconds, then a quarter of an hour of silence."""
    clock = SimulatedClock(T0, rate=0)
    feeder = Feeder(run.parts.client, MARKET, clock, FeederSettings(SERIES, run.parts.scope, LOSSES))
    for now in range(T0, T0 + HOURS * 60 * MINUTE, 20_000):
        clock.set(now)
        await feeder.step()
    skew = T0 + (HOURS * 60 + 15) * MINUTE - await run.parts.clock.redis_now()
    await run.parts.client.set(run.parts.scope.key("clock:skew_ms"), skew)


async def full_pass(run: Engine) -> ReconciliationResult:
    request = PassRequest("full_reconcile", SERIES, HOURS * 60 * MINUTE, verify=verify_of(run))
    return await run.parts.reconciler.run_pass(request)


async def wrong_bars(run: Engine) -> dict[str, int]:
    """Bars that are not the exchange's, by timeframe, of those the feeder could have known whole."""
    window = Interval(T0 + 60 * MINUTE, T0 + HOURS * 60 * MINUTE)
    return {
        series.timeframe.value: sum(values != there.get(at) for at, values in (await run.held(series, window)).items())
        for series in SERIES
        for there in [truth(series, window)]
    }


async def test_every_wrong_bar_of_the_window_is_repaired(redis_url):
    with trio.fail_after(60):
        async with engine(redis_url, full_reconcile_verify="all") as run:
            await feed(run)
            before = await wrong_bars(run)
            # cut 5m bars, partial and doubled 1m bars, and every longer one
            assert before["5m"] >= 2
            assert before["1m"] > 100
            assert (before["15m"], before["1h"]) == (12, 3)
            first = await full_pass(run)
            # Doubled bars wait for a second answer: they would lose volume.
            assert first.mismatched > first.repaired > 20
            await run.parts.client.incrby(run.parts.scope.key("clock:skew_ms"), APART_MS)
            result = await full_pass(run)
            assert result.mismatched == result.repaired == first.mismatched - first.repaired > 100
            assert set((await wrong_bars(run)).values()) == {0}
            assert (result.unresolved, result.errors) == (0, ())


@pytest.mark.parametrize("verify", ["spare", "all"])
async def test_wrong_bars_are_told_and_left_by_a_pass_that_only_reports(redis_url, verify):
    async with engine(redis_url, audit_policy="report", full_reconcile_verify=verify) as run:
        await feed(run)
        before = await wrong_bars(run)
        result = await full_pass(run)
        assert result.mismatched > 0
        assert (result.repaired, await wrong_bars(run)) == (0, before)
