"""A thousand kills over the repair of 100,000 candles: workers, supervisor and server, at any moment."""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random

import pytest
import trio
from tests.chaos.invariants import check_ledger, differ, end, settle
from tests.chaos.schedule import Blow, Fault
from tests.chaos.world import Plan, World, open_world

from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

PRODUCTS, SLOTS, PAGE = 10, 10_000, 300
PLAN = Plan(
    tuple(Series(f"P{number}-USD", Timeframe.M1) for number in range(PRODUCTS)), SLOTS, requests_per_s=2, every_s=5
)
VICTIMS = (Fault.WORKER_KILL,) * 8 + (Fault.REDIS_KILL, Fault.SUPERVISOR_KILL)
ROLE_FAILED = 70
REST_S = 600.0


class Killing:
    """Kills until the cache is complete, over and over."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = Random(seed)
        self.kills: Counter[Fault] = Counter()
        self.gave_up = 0
        self.repairs = 0

    async def run(self, kills: int) -> None:
        """Empty the cache and kill while it is filled again, until so many died; then let it come to rest."""
        while self.kills.total() < kills:
            await self._empty()
            difference = "all"
            while self.kills.total() < kills and difference:
                await self._kill()
                difference = await self._world.until_done(partial(differ, self._world))
            self.repairs += 1
        await self._revive()
        await settle(self._world, REST_S)

    async def _empty(self) -> None:
        for series in self._world.plan.series:
            key = self._world.scope.candle_key(series)
            await self._world.until_done(partial(self._world.client.execute_command, "DEL", key))

    async def _kill(self) -> None:
        await self._revive()
        await trio.sleep(self._random.uniform(0, 1.0))
        fault = self._random.choice(VICTIMS)
        await self._world.inflict(Blow(0, fault), self._random)
        self.kills[fault] += 1

    async def _revive(self) -> None:
        """Do as a service manager does for an engine that gave up: its workers died before they did a thing."""
        status = self._world.tree.status
        if status is not None:
            assert status == ROLE_FAILED
            self.gave_up += 1
            await self._world.tree.start()


@pytest.mark.soak
async def test_a_thousand_kills_over_100k_candles_lose_and_double_nothing(tmp_path, pytestconfig, tell_figure):
    began = trio.current_time()
    async with open_world(PLAN, tmp_path, None) as world:
        killing = Killing(world, seed=8)
        await killing.run(pytestconfig.getoption("--kills"))
        difference = await differ(world)
        await check_ledger(world)
        asked = len(world.exchange.log.records)
        await end(world)
    kinds = ", ".join(f"{count} {fault.split()[0]}" for fault, count in killing.kills.items())
    tell_figure(
        f"{killing.kills.total()} kills ({kinds}) over {killing.repairs} repairs of {PRODUCTS * SLOTS:,} candles: "
        f"{difference or '0 missing, 0 doubled, all as the exchange has them'}; {asked} requests, "
        f"engine given up and started again {killing.gave_up} times, no process left, "
        f"{(trio.current_time() - began) / 60:.1f} min"
    )
    assert difference == ""
