"""The first minutes of the demo, simulated: its cache begins with gaps and wrong bars, which become right."""

from __future__ import annotations

import json

from tests.worlds.fed_world import START, FedWorld, fed_world

from reconciler_engine.cli.start import SIMULATION
from reconciler_engine.engine.roles.feeder import DEMO_LOSSES, EARLIER_MS
from reconciler_engine.engine.simulated_feeder.feeder import AWAY_MS
from reconciler_engine.market.interval import Interval
from reconciler_engine.planning.audit import is_equal
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.seeded import SeededMarket

MARKET = SeededMarket(11, [ListedProduct("BTC-USD", 65_000.0), ListedProduct("DOGE-USD", 0.15, 5)])
SETTINGS = {name: value for name, value in SIMULATION.items() if name != "symbols"}
_VALUES = ("open", "high", "low", "close", "volume")


async def count_wrong(world: FedWorld) -> tuple[int, int, int]:
    """Return how many bars that closed while the earlier feed ran lack volume, have too much of it, and are missing."""
    little = much = missing = 0
    for one in world.series:
        slots = Interval(START - EARLIER_MS, START - AWAY_MS - one.timeframe.step_ms + 1)
        members = await world.redis.execute_command(
            "ZRANGEBYSCORE", world.scope.candle_key(one), slots.start, f"({slots.stop}"
        )
        there = {candle["timestamp"]: [float(candle[name]) for name in _VALUES] for candle in map(json.loads, members)}
        for bar in world.exchange.market.bars(one.symbol, one.timeframe, slots, START):
            held, values = there.get(bar.start), [float(text) for text in bar[1:]]
            missing += held is None
            if held is not None and not is_equal(held, values):
                little += held[-1] < values[-1]
                much += held[-1] >= values[-1]
    return little, much, missing


async def test_too_little_is_right_within_a_minute_and_doubled_within_six(redis_url, mock_clock, tell_figure):
    async with fed_world(redis_url, mock_clock, MARKET, **SETTINGS) as world:
        world.feed(DEMO_LOSSES, 1_000, EARLIER_MS)
        await world.pass_time(1 / 3_600)
        before = await count_wrong(world)
        await world.start()
        await world.after(1 / 60)
        minute = await count_wrong(world)
        await world.after(5 / 60)
        six = await count_wrong(world)
        tell_figure(f"too little, too much, missing: {before} at the start, {minute} a minute later, {six} after six")
        assert min(before) > 0
        assert (minute[0], minute[2]) == (0, 0)
        assert minute[1] > 0
        assert six == (0, 0, 0)
