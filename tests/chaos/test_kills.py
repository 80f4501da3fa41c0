"""A thousand kills over the repair of 100,000 candles: workers, supervisor and server, at any moment."""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random

import pytest
import trio
from tests.chaos.invariants import check_ledger, end, settle
from tests.chaos.schedule import Blow, Fault
from tests.chaos.waiting import wait_until
from tests.chaos.world import Plan, World, open_world

from reconciler_engine.errors import StoreError
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe

PRODUCTS, SLOTS, PAGE = 10, 10_000, 300
PLAN = Plan(
    tuple(Series(f"P{number}-USD", Timeframe.M1) for number in range(PRODUCTS)), SLOTS, requests_per_s=2, every_s=5
)
VICTIMS = (Fault.WORKER_KILL,) * 10 + (Fault.REDIS_KILL,) * 9 + (Fault.SUPERVISOR_KILL,)
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
            while self.kills.total() < kills and not await self._is_full():
                await self._revive()
                await self._kill()
            self.repairs += 1
        await self._revive()
        await settle(self._world, REST_S)

    async def _empty(self) -> None:
        await self._revive()
        for series in self._world.plan.series:
            key = self._world.scope.candle_key(series)
            await self._world.until_done(partial(self._world.client.execute_command, "DEL", key))

    async def _is_full(self) -> bool:
        """Whether every candle is there, by their number: cheap enough to ask between any two kills."""
        keys = map(self._world.scope.candle_key, self._world.plan.series)
        try:
            counts = await self._world.client.pipe([("ZCARD", key) for key in keys])
        except StoreError:
            return False
        return all(isinstance(count, int) for count in counts) and bool(sum(counts) >= PRODUCTS * SLOTS)

    async def _kill(self) -> None:
        """Kill one that is there: at once, or up to a second after it came."""
        fault = self._random.choice(VICTIMS)
        await wait_until(lambda: self._world.tree.status or self._is_there(fault), lambda: f"somebody for {fault}")
        await trio.sleep(self._random.uniform(0, 1.0))
        if self._is_there(fault):
            await self._world.inflict(Blow(0, fault), self._random)
            self.kills[fault] += 1

    def _is_there(self, fault: Fault) -> bool:
        tree = self._world.tree
        return tree.status is None and bool(tree.workers() if fault is Fault.WORKER_KILL else tree.server())

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
        await check_ledger(world)
        asked = len(world.exchange.log.records)
        await end(world)
    kinds = ", ".join(f"{count} {fault.split()[0]}" for fault, count in killing.kills.items())
    tell_figure(
        f"{killing.kills.total()} kills ({kinds}) over {killing.repairs} repairs of {PRODUCTS * SLOTS:,} candles: "
        f"0 missing, 0 doubled, all as the exchange has them; {asked} requests, "
        f"engine given up and started again {killing.gave_up} times, no process left, "
        f"{(trio.current_time() - began) / 60:.1f} min"
    )
