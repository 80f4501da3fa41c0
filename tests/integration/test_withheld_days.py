"""Days on which the exchange withholds candles, for minutes and for hours: what results, coverage and the gate say.

The exchange answers well-formed pages without all rows (`empty`), without the newest ones (`late`), or without every
third one (`thinned`), about all products, the reference's too, or about one alone. It begins just before midnight, so
that a bar of every timeframe closes meanwhile; the engine starts with it.
"""

from __future__ import annotations

from itertools import product

import pytest
from tests.integration.engines import MINUTE
from tests.integration.market_days import FULL_MS, MIDNIGHT, MarketDay, dense, market_day, thin

from reconciler_engine.engine.scheduled_passes import FULL_RECONCILE, GAP_SCAN
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.prices.seeded import SeededMarket

BEGINS = MIDNIGHT - 2 * MINUTE + MINUTE // 2
HOLES = (-2, -7, -12)
"""Slots that full caches lack, counted back from the newest."""
FEW = (-3, -4, -20, -21, -50)
"""Those that nearly empty caches hold alone."""
KINDS = ("FULL", "FEW", "NONE")
LISTED = [make(f"{name}{kind}-USD") for name, make in (("DENSE", dense), ("THIN", thin)) for kind in KINDS]
MARKET = SeededMarket(21, LISTED)
OUTAGES = list(product(["empty", "late", "thinned"], [5, 40, 100]))


def withheld(mode: str, minutes: int, symbols: str) -> FaultRule:
    values: dict[str, str | float | bool] = {
        "data": mode,
        "rows": 0,
        "nth": 3,
        "seconds": 60 * minutes,
        "revise_seed": 0,
    }
    return FaultRule("withheld", "data", path="*/candles", product=symbols, values=values)


async def prepare(day: MarketDay) -> None:
    """Fill the caches, each by the kind in its product's name."""
    for series in day.series:
        there = day.existing(series, Interval(0, day.window(series).stop))
        if "FULL" in series.symbol:
            lost = {there[hole] for hole in HOLES}
            await day.fill(series, [at for at in there if at not in lost])
        elif "FEW" in series.symbol:
            await day.fill(series, [there[one] for one in FEW])


async def live_through(redis_url, mode: str, minutes: int, series: list[Series], *, alone: bool, is_fed: bool) -> None:
    after = 70
    rule = withheld(mode, minutes, "DENSEFULL-USD" if alone else "*")
    async with market_day(
        redis_url, MARKET, series, begins=BEGINS, minutes=minutes + after, is_fed=is_fed, faults=[rule]
    ) as day:
        await prepare(day)
        await day.do_pass(FULL_RECONCILE)
        await day.check_gate()
        await day.go_on(minutes)
        day.run.exchange.faults.set(())
        first = {GAP_SCAN: len(day.passes), FULL_RECONCILE: len(day.passes)}
        for job in (GAP_SCAN, FULL_RECONCILE):
            since = first[job]
            while not any(kind == job for _, kind, _ in day.passes[since:]):
                await day.go_on(1)
            if job == GAP_SCAN:
                await check_filled(day, day.passes[since])
        await check_filled(day, day.passes[-1])
        dense_series = {one for one in day.series if one.symbol.startswith("DENSE")}
        assert dense_series <= set(await day.ready())


async def check_filled(day: MarketDay, done) -> None:
    """The first pass after recovery has filled all that it examined."""
    at, job, result = done
    left = {}
    for row in result.series:
        series = Series(row.symbol, Timeframe.parse(row.timeframe))
        window = day.window(series, 30 * MINUTE if job == GAP_SCAN else FULL_MS)
        if missing := await day.missing(series, window):
            left[str(series)] = [(at - one) // MINUTE for one in missing]
    assert left == {}, job


def watched(kinds: tuple[str, ...], timeframes) -> list[Series]:
    symbols = [f"{name}{kind}-USD" for name in ("DENSE", "THIN") for kind in kinds]
    return [Series(symbol, timeframe) for symbol in symbols for timeframe in timeframes]


@pytest.mark.parametrize("mode", ["empty", *(pytest.param(one, marks=pytest.mark.slow) for one in ("late", "thinned"))])
async def test_nothing_is_ready_over_a_bar_withheld_for_forty_minutes(redis_url, mode):
    series = watched(("FULL", "NONE"), (Timeframe.M1, Timeframe.H1))
    await live_through(redis_url, mode, 40, series, alone=False, is_fed=False)


@pytest.mark.soak
@pytest.mark.parametrize("is_fed", [False, True], ids=["alone", "fed"])
@pytest.mark.parametrize(("mode", "minutes"), OUTAGES)
async def test_nothing_is_ready_over_a_bar_that_all_products_lack(redis_url, mode, minutes, is_fed):
    kinds = ("FULL",) if (mode, minutes) == ("thinned", 100) else KINDS
    await live_through(redis_url, mode, minutes, watched(kinds, Timeframe), alone=False, is_fed=is_fed)


@pytest.mark.soak
@pytest.mark.parametrize("is_fed", [False, True], ids=["alone", "fed"])
@pytest.mark.parametrize(("mode", "minutes"), OUTAGES)
async def test_nothing_is_ready_over_a_bar_that_one_product_lacks(redis_url, mode, minutes, is_fed):
    await live_through(redis_url, mode, minutes, watched(("FULL",), Timeframe), alone=True, is_fed=is_fed)
