"""Verified never survives a candle that it does not describe: blows to a cache that is verified.

After each blow the gate is asked at once, before the engine has looked; then the engine has half an hour to make all
right again, and the gate is asked once a minute meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest
from tests.worlds.fed_world import MINUTE, FedWorld, fed_world
from tests.worlds.simulated_time import CLOCK_KEY

from reconciler_engine.engine.simulated_feeder.feed import Written, write_member
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.simulator.prices.listed_products import ListedProduct
from reconciler_engine.simulator.prices.market import Bar
from reconciler_engine.simulator.prices.seeded import SeededMarket
from reconciler_engine.store.client.trio_redis import all_served

MARKET: Final = SeededMarket(
    11,
    [
        ListedProduct("BTC-USD", 65_000.0, 2, 9_000.0, trades=500_000),
        ListedProduct("ETH-USD", 3_000.0, 2, 110_000.0, trades=400_000),
    ],
)
TIMEFRAMES: Final = ("1m", "5m")
VERIFIED_H: Final = 0.75
OLD_MS: Final = 40 * MINUTE
"""Age of bars that must be verified: after any harm to them the gate says no at once, or they are right."""

_FLUSH: Final = """
local clock = redis.call('HGETALL', KEYS[1])
redis.call('FLUSHALL')
redis.call('HSET', KEYS[1], unpack(clock))
"""

Blow = Callable[[FedWorld], Awaitable[None]]


def old_bars(world: FedWorld, series: Series, count: int) -> list[Bar]:
    """The newest bars of which all must be verified."""
    now, step = world.time.now(), series.timeframe.step_ms
    stop = series.timeframe.floor(now - OLD_MS)
    return world.exchange.market.bars(series.symbol, series.timeframe, Interval(stop - count * step, stop), now)


async def write(world: FedWorld, series: Series, bars: Sequence[Bar], number: int) -> None:
    """Write bars as a connection of that message number does."""
    key = world.scope.candle_key(series)
    commands: list[tuple[Any, ...]] = []
    for bar in bars:
        member = write_member(Written(series, bar, world.time.now(), number))
        commands += [("ZREMRANGEBYSCORE", key, bar.start, bar.start), ("ZADD", key, bar.start, member)]
    all_served(await world.redis.pipe(commands))


async def flush_all(world: FedWorld) -> None:
    await world.redis.execute_command("EVAL", _FLUSH, 1, CLOCK_KEY)


async def delete_by_pattern(world: FedWorld) -> None:
    """Clear the cache as the feeder's program does."""
    keys = await world.redis.keys("candles:*")
    await world.redis.delete(*keys)


async def delete_evidence(world: FedWorld) -> None:
    await world.redis.delete(*map(world.scope.evidence_key, world.series))


async def trim(world: FedWorld) -> None:
    for series in world.series:
        await world.redis.zremrangebyrank(world.scope.candle_key(series), 0, -51)


async def rewrite_old_bars(world: FedWorld) -> None:
    """Write less volume into old bars, with greater numbers."""
    for series in world.series:
        bars = [bar._replace(volume=f"{float(bar.volume) / 2:.8f}") for bar in old_bars(world, series, 40)]
        await write(world, series, bars, 1_000_000)


async def double_old_bars(world: FedWorld) -> None:
    """Write twice the volume into old bars, as two sockets do."""
    for series in world.series:
        bars = [bar._replace(volume=f"{float(bar.volume) * 2:.8f}") for bar in old_bars(world, series, 40)]
        await write(world, series, bars, 1_000_000)


async def renumber(world: FedWorld) -> None:
    """Write a snapshot of equal values, with the number of another connection's message."""
    for series in world.series:
        await write(world, series, old_bars(world, series, 100), 3)


async def move_members(world: FedWorld) -> None:
    """Give the member of each of some slots the score of the one after it."""
    for series in world.series:
        key, step = world.scope.candle_key(series), series.timeframe.step_ms
        for bar in old_bars(world, series, 10):
            await world.redis.execute_command("ZINCRBY", key, step, await only_member(world, key, bar.start))


async def double_members(world: FedWorld) -> None:
    """Put a second candle, of more volume, beside verified ones."""
    for series in world.series:
        key = world.scope.candle_key(series)
        for bar in old_bars(world, series, 10):
            more = bar._replace(volume=f"{float(bar.volume) * 3:.8f}")
            await world.redis.zadd(key, {write_member(Written(series, more, world.time.now(), 9)): bar.start})


async def only_member(world: FedWorld, key: str, at: int) -> bytes:
    found: list[bytes] = await world.redis.execute_command("ZRANGEBYSCORE", key, at, at)
    return found[0]


async def restore_candles(world: FedWorld) -> None:
    """Bring back candle keys of before a repair, beside evidence of after it."""
    await rewrite_old_bars(world)
    keys = [world.scope.candle_key(one) for one in world.series]
    saved = [await world.redis.execute_command("DUMP", key) for key in keys]
    await world.after(0.6)
    for key, body in zip(keys, saved, strict=True):
        await world.redis.execute_command("RESTORE", key, 0, body, "REPLACE")


async def restore_evidence(world: FedWorld) -> None:
    """Bring back evidence of before the feeder wrote, beside candles of after it."""
    keys = [world.scope.evidence_key(one) for one in world.series]
    saved = [await world.redis.execute_command("DUMP", key) for key in keys]
    await rewrite_old_bars(world)
    for key, body in zip(keys, saved, strict=True):
        await world.redis.execute_command("RESTORE", key, 0, body, "REPLACE")


# A slot that was repaired three times within a day is left alone: no series of them hits one so often.
SERIES_OF_BLOWS: Final[dict[str, Sequence[Blow]]] = {
    "what is there goes": (rewrite_old_bars, flush_all, delete_by_pattern, delete_evidence, trim),
    "another text": (renumber, move_members, double_members),
    "other values": (double_old_bars, restore_evidence),
    "what was there comes back": (restore_candles,),
}


async def suffer(world: FedWorld, blow: Blow) -> None:
    """Let a blow fall on a verified cache, and hold what is seen of it from then on to what is promised."""
    await world.strike(blow)
    await world.sample()
    struck = world.time.now()
    await world.after(0.75)
    figures = world.figures
    assert (figures.over_missing, figures.over_wrong, figures.falsely_verified) == (0, 0, 0), figures.told
    assert world.watch.is_well(world.time.now())
    assert (figures.well_unready.total(), figures.well_wrong.total()) == (0, 0), figures.told
    assert world.time.now() > struck


@pytest.mark.parametrize(
    ("blows", "layout"),
    [
        pytest.param("what is there goes", "user", marks=pytest.mark.slow),
        ("another text", "exchange"),
        pytest.param("other values", "user", marks=pytest.mark.soak),
        pytest.param("what was there comes back", "exchange", marks=pytest.mark.soak),
    ],
)
async def test_verified_never_survives_a_candle_that_it_does_not_describe(redis_url, mock_clock, blows, layout):
    settings: dict[str, Any] = {"symbols": ("BTC-USD",), "timeframes": TIMEFRAMES, "layout": layout}
    async with fed_world(redis_url, mock_clock, MARKET, **settings) as world:
        await world.feed_in_bulk()
        await world.start()
        await world.after(VERIFIED_H)
        for blow in SERIES_OF_BLOWS[blows]:
            await suffer(world, blow)
