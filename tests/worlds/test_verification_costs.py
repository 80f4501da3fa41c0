"""Cost of verification, from the exchange's log, and how soon it comes: many symbols beside a feeder's bad habits.

The caches begin full and unverified. Requests are counted over one hour once that is made up for; every bar that closed
in it must have been verified within half an hour of its close. Ends with a figure a world, the arithmetic beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import pytest
from tests.worlds.bulk_feed import BulkFeed
from tests.worlds.fed_world import HELD_BARS, HOUR, MINUTE, START, FedWorld, fed_world
from tests.worlds.verified_times import VerifiedTimes

from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.simulator.rules.request_log import RequestRecord

PER_SYMBOL = 10
"""Requests an hour for a symbol of six timeframes: the arithmetic that users are told."""


class OneBook:
    """Products that all trade as one does: their cost is the engine's alone."""

    def __init__(self, count: int) -> None:
        market = SeededMarket(11, [ListedProduct("P0-USD", 10_000.0, 2, 9_000.0)])
        listed = (ListedProduct(f"P{number}-USD", 10_000.0, 2, 9_000.0) for number in range(count))
        self.products = {one.symbol: one for one in listed}

        self._bars = lru_cache(1_024)(partial(market.bars, "P0-USD"))
        self._rows = lru_cache(1_024)(partial(market.rows, "P0-USD"))

    def bars(self, _: str, *asked: Any) -> list[Bar]:
        """Return the same bars for every product."""
        return self._bars(*asked)

    def rows(self, _: str, *asked: Any) -> list[str]:
        """Return the same as rows."""
        return self._rows(*asked)


@dataclass
class Costs:
    """The costs of an hour."""

    world: FedWorld
    feed: BulkFeed
    hour: Interval
    requests: int
    times: VerifiedTimes
    unverified: dict[str, int]

    @property
    def share(self) -> float:
        """The requests of the hour as a part of its budget."""
        return self.requests * 1_000 / (self.per_s * (self.hour.stop - self.hour.start))

    @property
    def per_s(self) -> float:
        """The budget a second."""
        return self.world.config.batch_size * 1_000 / self.world.config.batch_delay_ms

    def older_pages(self) -> list[RequestRecord]:
        """Return the requests that ended before the newest bars of their series."""
        step_s = {one.granularity: one.step_ms // 1_000 for one in Timeframe}
        return [
            one
            for one in self.world.log.all
            if one.granularity and int(one.end or 0) + HELD_BARS * step_s[one.granularity] < one.time_ms // 1_000
        ]

    def figure(self) -> str:
        symbols = len(self.world.config.symbols)
        filled = sorted(self.feed.filled_after)
        return (
            f"{symbols} symbols of {len(self.world.config.timeframes)} timeframes at {self.per_s:g} a second: "
            f"{self.requests} requests, {self.share:.2%} of the budget "
            f"(arithmetic of verification alone: {PER_SYMBOL * symbols} an hour); of those that closed in it, "
            f"{self.times}, {sum(self.unverified.values())} not; "
            f"{len(filled)} lost bars filled, half within {filled[len(filled) // 2] / MINUTE:.1f} min, "
            f"99 % within {filled[len(filled) * 99 // 100] / MINUTE:.1f} min; {self.world.figures}"
        )


async def spend(world: FedWorld, made_up_h: float, hours: float = 1.55) -> Costs:
    """Let the engine make up for what it finds, then an hour pass, and the time that verification of it may take."""
    feed = await world.feed_in_bulk()
    await world.start(every_minutes=10)
    begins = START + round(made_up_h * HOUR)
    hour = Interval(begins, begins + min(HOUR, round(hours * HOUR)))
    times = VerifiedTimes(world.redis, world.scope, world.watch.series, hour)
    world.nursery.start_soon(times.run)
    await world.pass_time(made_up_h + hours)
    return Costs(world, feed, hour, world.log.count(hour), times, await times.unverified())


def check_truth(costs: Costs) -> None:
    """Neither the gate nor a digest lied, and the budget was kept."""
    figures = costs.world.figures
    assert (figures.over_missing, figures.over_wrong, figures.falsely_verified) == (0, 0, 0), figures.told
    assert costs.world.excess() <= 0


def check_verified(costs: Costs) -> None:
    """Every bar of the hour was verified within half an hour, too."""
    check_truth(costs)
    assert not costs.unverified
    assert costs.times.longest_ms <= 30 * MINUTE


def check(costs: Costs, most_share: float) -> None:
    """It took so much of the budget, too."""
    check_verified(costs)
    assert costs.share <= most_share


async def test_three_symbols_are_verified_within_half_an_hour(redis_url, mock_clock, tell_figure):
    async with fed_world(redis_url, mock_clock, OneBook(3)) as world:
        costs = await spend(world, 0.6)
        tell_figure(costs.figure())
        # Lists and clocks cost the same for one symbol and for fifty.
        check(costs, 0.035 * 4 / 50)


@pytest.mark.soak
async def test_fifty_symbols_are_verified_within_half_an_hour(redis_url, mock_clock, tell_figure):
    async with fed_world(redis_url, mock_clock, OneBook(50)) as world:
        costs = await spend(world, 1)
        tell_figure(costs.figure())
        check(costs, 0.035)


@pytest.mark.soak
async def test_three_hundred_symbols_are_verified_within_half_an_hour(redis_url, mock_clock, tell_figure):
    async with fed_world(redis_url, mock_clock, OneBook(300)) as world:
        costs = await spend(world, 1)
        tell_figure(costs.figure())
        check(costs, 0.20)


async def backfill(world: FedWorld, symbols: Sequence[str], days: int) -> None:
    """Fill so many days of 1m bars, at most for the length of the world."""
    stop = START - START % MINUTE
    asked = [Series(one, Timeframe.M1) for one in symbols]
    await world.parts.history.backfill(asked, Interval(stop - days * 24 * HOUR, stop), lambda _: None)


@pytest.mark.slow
async def test_a_backfill_does_not_starve_verification(redis_url, mock_clock, tell_figure):
    slow: dict[str, Any] = {"batch_size": 1, "batch_delay_ms": 25_000, "max_candles": 0, "ttl": 0}
    async with fed_world(redis_url, mock_clock, OneBook(1), **slow) as world:
        world.nursery.start_soon(backfill, world, ["P0-USD"], 120)
        costs = await spend(world, 0.6)
        tell_figure(f"beside a backfill: {costs.figure()}")
        # The budget is spent, and verification has its part of it.
        assert costs.share > 0.9
        check_verified(costs)


@pytest.mark.soak
async def test_a_years_backfill_does_not_starve_verification_of_fifty_symbols(redis_url, mock_clock, tell_figure):
    async with fed_world(redis_url, mock_clock, OneBook(50), max_candles=0, ttl=0) as world:
        world.nursery.start_soon(backfill, world, [f"P{number}-USD" for number in range(20)], 365)
        costs = await spend(world, 1)
        tell_figure(f"beside a year's backfill: {costs.figure()}")
        assert costs.share > 0.9
        check_verified(costs)


@pytest.mark.soak
async def test_two_thousand_symbols_have_their_gaps_filled_and_no_false_yes(redis_url, mock_clock, tell_figure):
    watched = [f"P{number}-USD" for number in range(0, 2_000, 50)]
    async with fed_world(redis_url, mock_clock, OneBook(2_000), watched=watched) as world:
        costs = await spend(world, 0.25, 0.5)
        tell_figure(f"half an hour: {costs.figure()}")
        check_truth(costs)
        filled = sorted(costs.feed.filled_after)
        assert filled[len(filled) * 99 // 100] <= 7 * MINUTE
        # No page is spent on older bars while newest ones wait.
        assert not costs.older_pages()
