"""The overlap guard is held as long as its nursery, and is free after any end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from tests.integration.scheduled_jobs import BASE, Recorder, job

from reconciler_engine.scheduling.events import RunFinished
from reconciler_engine.scheduling.runs import GuardHeld, OverlapGuard
from reconciler_engine.scheduling.scheduler import Scheduler
from reconciler_engine.scheduling.ticks import Tick

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_the_guard_is_held_while_its_nursery_is_open() -> None:
    guard = OverlapGuard()
    async with guard.hold(Tick("scan", BASE)) as nursery:
        nursery.start_soon(trio.sleep, 10)
        with pytest.raises(GuardHeld, match="job 'scan' is still running"):
            async with guard.hold(Tick("scan", BASE)):
                raise AssertionError("two at once")
        assert guard.is_held
    assert trio.current_time() >= 10
    assert not guard.is_held


async def test_the_guard_is_freed_by_an_exception() -> None:
    guard = OverlapGuard()
    with pytest.RaisesGroup(ValueError):
        async with guard.hold(Tick("scan", BASE)):
            raise ValueError
    assert not guard.is_held


async def test_cancelled_at_every_await_the_guard_is_free_and_the_tick_ended_once() -> None:
    """One step at a time: the question, the jitter, the run and its own tasks."""
    endings = set()

    held: list[Tick] = []

    @asynccontextmanager
    async def claim(tick: Tick) -> AsyncIterator[bool]:
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        held.append(tick)
        try:
            yield True
        finally:
            held.remove(tick)

    async def run(_: Tick) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    async def attempt(steps: int) -> tuple[str, ...]:
        recorder = Recorder()
        scheduler = Scheduler(
            [job("scan", "*/5 * * * *", run, jitter=1)],
            now=lambda: BASE,
            claim=claim,
            decided_until=BASE - 1,
        )
        scheduler.subscribe(recorder)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(scheduler.run)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        figures = scheduler.statistics()["scan"]
        assert not figures.is_running
        assert held == []
        assert figures.runs + figures.missed == 1
        return tuple(
            event.outcome.value if isinstance(event, RunFinished) else type(event).__name__ for event in recorder.events
        )

    for steps in range(40):
        endings.add(await attempt(steps))
    assert endings == {
        ("SlotsMissed",),
        ("RunStarted", "cancelled"),
        ("RunStarted", "done"),
    }
