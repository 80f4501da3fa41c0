"""Hours beside a feeder as bad as the real one and an exchange that is away and that withholds: what the gate says.

Passes run by their schedules in simulated time. Once a minute the gate is asked about the newest 200 bars of every
series, and its answers and the digests of verified candles are held to what exists. Ends with a figure a world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from tests.worlds.fed_world import FedWorld, fed_world, trouble

from reconciler_engine.simulator.faults.rules import FaultRule
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

BTC = ListedProduct("BTC-USD", 65_000.0, 2, 9_000.0, trades=500_000, volatility=0.025)
DASH = ListedProduct("DASH-USD", 35.0, 2, 9_000.0, 6, 2_000, dense=False)
ETH = ListedProduct("ETH-USD", 3_000.0, 2, 110_000.0, trades=400_000)
UNI = ListedProduct("UNI-USD", 9.0, 3, 200_000.0, 6, 9_000, dense=False, volatility=0.045)
MARKET = SeededMarket(11, [BTC, DASH, ETH, UNI])
SMALL_MARKET = SeededMarket(11, [BTC, DASH])
PER_S = 5
"""Requests a second, the default."""


async def live(world: FedWorld, hours: float, tell_figure: Callable[[str], None]) -> None:
    """Let hours pass beside the feeder, and hold what was seen to what is promised."""
    world.feed()
    await world.start()
    await world.pass_time(hours)
    figures = world.figures
    requests = f"layout {world.config.layout}, {len(world.log.all)} requests"
    tell_figure(f"{hours:g} simulated hours, {requests}: {figures}")
    assert figures.looks > 0.9 * hours * 60 * len(world.series)
    assert figures.ready > figures.looks / 4
    assert figures.verified > 0
    assert (figures.over_missing, figures.over_wrong, figures.falsely_verified) == (0, 0, 0), figures.told
    assert figures.well > 0
    assert (figures.well_unready.total(), figures.well_wrong.total()) == (0, 0), figures.told
    assert world.excess() <= 0


def two_hours() -> Sequence[FaultRule]:
    return (
        trouble("withholds a moment", "data", 0.6, 4.5, data="empty"),
        trouble("away", "status", 0.75, 10, status=503),
        trouble("withholds", "data", 1.1, 15, data="past", seconds=2_400),
        trouble("silent", "silence", 1.5, 8),
    )


def ten_hours() -> Sequence[FaultRule]:
    return (
        trouble("withholds a moment", "data", 1.33, 4.5, data="empty"),
        trouble("away", "status", 2.67, 20, status=503),
        trouble("withholds", "data", 4.5, 40, data="past", seconds=2_400),
        trouble("silent", "silence", 6.5, 50),
    )


@pytest.mark.parametrize(
    "layout", [pytest.param("user", marks=pytest.mark.slow), pytest.param("exchange", marks=pytest.mark.soak)]
)
async def test_two_hours_of_a_bad_feeder_and_a_bad_exchange(redis_url, mock_clock, tell_figure, layout):
    async with fed_world(redis_url, mock_clock, SMALL_MARKET, faults=two_hours(), layout=layout) as world:
        await live(world, 2.4, tell_figure)


@pytest.mark.soak
@pytest.mark.parametrize("layout", ["user", "exchange"])
async def test_ten_hours_of_a_bad_feeder_and_a_bad_exchange(redis_url, mock_clock, tell_figure, layout):
    async with fed_world(redis_url, mock_clock, MARKET, faults=ten_hours(), layout=layout) as world:
        await live(world, 10, tell_figure)
