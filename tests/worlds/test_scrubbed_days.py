"""Kept candles over a day of simulated time, beside a feeder: bars that the exchange rewrites are found within it.

Its bounded twin is `integration/test_scrub.py`.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Final

import pytest
from tests.integration.rewritten_market import RewrittenMarket
from tests.worlds.fed_world import HELD_BARS, HOUR, FedWorld, fed_world

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.pages import PAGE_SLOTS
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.store.journal import Change, Journal, Why

BARS: Final = 3_000
DAYS: Final = 1
PLANTED: Final = 20
SETTINGS: Final[dict[str, Any]] = {
    "timeframes": ("1m", "1h"), "max_candles": 0, "ttl": 0, "scrub_days": DAYS, "verify_cron": "*/5 * * * *",
}  # fmt: skip


def make_market() -> RewrittenMarket:
    return RewrittenMarket(SeededMarket(11, [ListedProduct("BTC-USD", 65_000.0, 2, 9_000.0)]))


def plant(world: FedWorld, market: RewrittenMarket) -> set[tuple[Series, int]]:
    """Have the exchange rewrite bars behind those that are watched."""
    random, now = Random(7), world.time.now()
    slots = [
        (series, series.timeframe.floor(now) - age * series.timeframe.step_ms)
        for series in world.series
        for age in range(HELD_BARS + 60, BARS)
    ]
    planted = set(random.sample(slots, PLANTED))
    for series, at in planted:
        market.rewritten[series.symbol, series.timeframe, at] = "12345.5"
    return planted


async def rewritten(world: FedWorld) -> list[Change]:
    changes = await Journal(world.redis, world.scope).read(world.series, since=0, limit=10_000)
    return [one for one in changes if one.why is Why.REWRITTEN]


def older_pages_an_hour(world: FedWorld, since: int) -> Counter[int]:
    """Pages of at least half a page's slots that ended before the newest bars of their series, by the hour."""
    steps = {one.granularity: one.step_ms // 1_000 for one in Timeframe}
    return Counter(
        (one.time_ms - since) // HOUR
        for one in world.log.all
        if one.granularity
        and one.time_ms >= since
        and int(one.end or 0) - int(one.start or 0) >= PAGE_SLOTS // 2 * steps[one.granularity]
        and int(one.end or 0) + HELD_BARS * steps[one.granularity] < one.time_ms // 1_000
    )


@pytest.mark.soak
async def test_rewritten_bars_are_found_within_the_days_evenly_and_inside_the_share(redis_url, mock_clock, tell_figure):
    market = make_market()
    async with fed_world(redis_url, mock_clock, market, **SETTINGS) as world:
        await world.feed_in_bulk(BARS)
        await world.start(every_minutes=30)
        await world.pass_time(2)
        planted, since = plant(world, market), world.time.now()
        await world.pass_time(2 + 24 * DAYS + 0.2)
        assert {(one.series, one.start) for one in await rewritten(world)} == planted
        pages = older_pages_an_hour(world, since)
        full, kept = [pages[hour] for hour in range(1, 21)], sum(-(-BARS // PAGE_SLOTS) + 1 for _ in world.series)
        figures = world.figures
        tell_figure(
            f"{PLANTED} rewritten bars of {len(world.series)} series found within {DAYS} d; of {kept} pages "
            f"{sum(full)} asked for in twenty hours, {min(full)} to {max(full)} an hour "
            f"(arithmetic: {kept / 21.6:.1f}); {figures}"
        )
        # Two pages of different series may fall due together.
        assert max(full) <= 3
        assert sum(full) >= kept * 0.8
        assert (figures.over_missing, figures.over_wrong, figures.falsely_verified) == (0, 0, 0), figures.told
        assert world.excess() <= 0
