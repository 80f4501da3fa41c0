"""Requests that sums of finer bars save: the same hours with them and without, the arithmetic beside.

The feeder is a right one: each bar comes once, whole, as it has closed. Caches begin full and unverified; requests are
counted once that is made up for. A feeder that keeps longer bars as they opened has each of these asked for, and saves
less: its figure is told, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from tests.conftest import plain_client
from tests.worlds.fed_world import HOUR, MINUTE, START, FedWorld, fed_world
from tests.worlds.test_verification_costs import OneBook
from trio.testing import MockClock

from reconciler_engine.engine.passes.sum_proofs import SumProofs
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.verify_load import verify_load

RIGHT: dict[str, Any] = {"lost_per_mille": 0, "cut_per_mille": 0, "streamed": frozenset(Timeframe)}
"""Habits of a feeder that makes no mistake."""


@dataclass
class Spent:
    """The requests for candles of an hour, on average, and those that the arithmetic says."""

    per_hour: float
    without_sums: float
    with_sums: float
    told: str


async def spend(
    url: str,
    clock: MockClock,
    symbols: int,
    hours: float,
    habits: dict[str, Any],
    settings: dict[str, Any],
    made_up_h: float,
) -> Spent:
    """Let an engine make up for the unverified bars that it finds, then count its requests for candles."""
    watched = [f"P{number}-USD" for number in range(0, symbols, 10)]
    async with fed_world(url, clock, OneBook(symbols), watched=watched, **settings) as world:
        await world.feed_in_bulk(**habits)
        await world.start(every_minutes=10)
        begins = START + round(made_up_h * HOUR)
        await world.pass_time(made_up_h + hours)
        check_truth(world)
        counted = Interval(begins, begins + round(hours * HOUR))
        requests = sum(one.granularity is not None and one.time_ms in counted for one in world.log.all)
        rate = 60 * world.parts.share.budget.rate_per_s
        load = verify_load(world.series, world.config.verify_rules, rate)
        return Spent(requests / hours, load.per_hour, load.with_sums_per_hour, str(world.figures))


def check_truth(world: FedWorld) -> None:
    """Neither the gate nor a digest lied, and the budget was kept."""
    figures = world.figures
    assert (figures.over_missing, figures.over_wrong, figures.falsely_verified) == (0, 0, 0), figures.told
    assert world.excess() <= 0


@pytest.fixture
def compare(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tell_figure: Callable[[str], None]
) -> Callable[..., tuple[Spent, Spent]]:
    """Spend the same hours with sums and without, each from a cache that is filled anew; returns both."""

    def run(symbols: int, hours: float, habits: dict[str, Any] = RIGHT, **settings: Any) -> tuple[Spent, Spent]:
        def spent() -> Spent:
            with plain_client(redis_url) as client:
                client.flushall()
            clock = MockClock()
            found = trio.run(spend, redis_url, clock, symbols, hours, habits, settings, 1.5, clock=clock)
            tell_figure(f"{found.per_hour:.1f} an hour; {found.told}")
            return found

        with_sums = spent()
        monkeypatch.setattr(SumProofs, "finer_of", lambda *_: None)
        without = spent()
        tell_figure(
            f"{symbols} symbols of six timeframes, {hours:g} h, {settings or 'defaults'}, "
            f"{'right feeder' if habits is RIGHT else 'real habits'}: {with_sums.per_hour:.0f} an hour by sums "
            f"(arithmetic: {with_sums.with_sums:.0f}), {without.per_hour:.0f} without (arithmetic: "
            f"{without.without_sums:.0f}), ratio {with_sums.per_hour / without.per_hour:.3f} (arithmetic: "
            f"{with_sums.with_sums / without.without_sums:.3f})"
        )
        return with_sums, without

    return run


@pytest.mark.slow
async def test_sums_save_six_of_ten_requests(redis_url, mock_clock, tell_figure):
    """Requests of whole rounds of the finest bars, beside those of the arithmetic without sums."""
    rounds, round_min = 3, 16
    spent = await spend(redis_url, mock_clock, 2, rounds * round_min / 60, RIGHT, {}, 0.5)
    tell_figure(f"2 symbols, {rounds} rounds: {spent.per_hour:.1f} requests an hour, {spent.without_sums:.1f} without")
    assert spent.per_hour <= 0.42 * spent.without_sums


@pytest.mark.soak
@pytest.mark.parametrize(("minutes", "most"), [(30, 0.40), (90, 0.30)])
def test_sums_save_most_requests_of_fifty_symbols_over_a_day(compare, minutes, most):
    with_sums, without = compare(50, 24, max_unverified_ms=minutes * MINUTE)
    assert with_sums.per_hour <= most * without.per_hour
    assert with_sums.per_hour == pytest.approx(with_sums.with_sums, rel=0.1)
    assert without.per_hour == pytest.approx(without.without_sums, rel=0.1)


@pytest.mark.soak
def test_sums_save_some_requests_beside_a_feeder_that_keeps_opened_bars(compare):
    with_sums, without = compare(50, 6, {})
    assert with_sums.per_hour <= 0.85 * without.per_hour
