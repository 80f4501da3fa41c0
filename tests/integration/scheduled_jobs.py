"""Jobs, a clock and a recorder for tests of the scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.events import Event, RunFinished, RunStarted, SlotSkipped, SlotsMissed
from reconciler_engine.scheduling.job import Job
from reconciler_engine.scheduling.ticks import Tick

BASE = 1_790_000_100_000  # On a five-minute boundary.
Kind = TypeVar("Kind", RunStarted, RunFinished, SlotSkipped, SlotsMissed)


class Recorder:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]


async def nothing(_: Tick) -> None:
    await trio.lowlevel.checkpoint()


def job(name: str, text: str, run: Callable[..., object] = nothing, **bounds: int) -> Job:
    return Job(name, CronExpression.parse(text), run, **bounds)  # type: ignore[arg-type]
