"""Programs of low priority beside requests for live gaps, five minutes on a virtual clock."""

from __future__ import annotations

import pytest
import trio
from tests.chaos.invariants import budget_excess
from tests.limiter_model.memory_bucket import MemoryBucket

from reconciler_engine.limiting.breaker import Fate
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.limiting.permit_steps import YIELDS_S
from reconciler_engine.limiting.redis_bucket import TokenBucket

FIVE = Budget(burst=5, period_ms=1_000)
SLOT_S = 0.2
LIVE_EVERY_S = 1.7


class Programs:
    """Three programs of many tasks that ask all the time, and an engine that asks for a live gap now and then."""

    def __init__(self, tasks: int, yields_s: float, seconds: float) -> None:
        memory = MemoryBucket(lambda: 1_764_000_000_000_000 + round(trio.current_time() * 1_000_000))
        self.bucket = TokenBucket(memory, "bucket", FIVE)
        self.sent: list[float] = []
        self.foreign = 0
        self.live_waits: list[float] = []
        self._tasks, self._yields_s, self._seconds = tasks, yields_s, seconds

    async def run(self) -> None:
        with trio.move_on_after(self._seconds):
            async with trio.open_nursery() as nursery:
                for _ in range(3 * self._tasks):
                    nursery.start_soon(self._ask_all_the_time)
                nursery.start_soon(self._ask_for_live_gaps)

    async def _ask_all_the_time(self) -> None:
        while True:
            permit = await self.bucket.converse(self.bucket.steps.wait(3_600, yields_s=self._yields_s))
            self.sent.append(trio.current_time())
            self.foreign += 1
            await self.bucket.converse(self.bucket.steps.report(permit, Fate.SERVED, 200))

    async def _ask_for_live_gaps(self) -> None:
        while True:
            began = trio.current_time()
            permit = await self.bucket.wait_permit(3_600)
            self.sent.append(trio.current_time())
            self.live_waits.append(trio.current_time() - began)
            await self.bucket.converse(self.bucket.steps.report(permit, Fate.SERVED, 200))
            await trio.sleep(LIVE_EVERY_S)


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize(("tasks", "seconds"), [(1, 300), (4, 60)])
async def test_live_gaps_go_first_and_the_budget_holds(tasks, seconds):
    programs = Programs(tasks, YIELDS_S, seconds)
    await programs.run()
    assert budget_excess(programs.sent, 5, 0.0) <= 0
    # Two slots of other turns at most: those of programs that have let others go first for ten seconds. Without that,
    # all wait for over a second.
    assert round(max(programs.live_waits), 6) <= 2 * SLOT_S
    # They do not starve, and nothing of the budget is left over.
    assert len(programs.sent) >= 5 * seconds - 5
    assert programs.foreign > 4 * seconds


@pytest.mark.usefixtures("autojump_clock")
async def test_without_a_priority_live_gaps_wait_for_all_others():
    programs = Programs(4, 0.0, 60)
    await programs.run()
    assert budget_excess(programs.sent, 5, 0.0) <= 0
    assert min(programs.live_waits[1:]) > 1.0
