"""A day of the scheduler on virtual clocks: random runs, stalls, suspends and clock steps.

Each slot of each era ends exactly once, as a run, skipped or missed, and no job runs twice at once.
This module computes the slots and eras from the readings alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
import trio
import trio.testing

from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.events import Event, Outcome, RunFinished, RunStarted, SlotSkipped, SlotsMissed
from reconciler_engine.scheduling.job import Job
from reconciler_engine.scheduling.scheduler import Scheduler
from reconciler_engine.scheduling.ticks import Tick

MINUTE = 60_000
HOUR = 60 * MINUTE
HORIZON_S = 24 * 3_600
EXPRESSIONS = (
    "*/5 * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 2 * * *",
    "15,45 1-3 * * *",
    "0 0-23/2 * * *",
    "*/20 */2 * * *",
    "30 */10 * * * *",
)
# Nights on which clocks change, and one on which none does.
NIGHTS = ("2026-03-08T00:00-05:00", "2026-11-01T00:00-04:00", "2026-04-05T00:00+11:00", "2026-06-01T00:00+00:00")
ZONES = ("America/New_York", "Australia/Lord_Howe", "UTC")


class Wall:
    """A wall clock over trio's, with every reading kept."""

    def __init__(self, begin: int) -> None:
        self.offset = begin
        self.readings: list[int] = []

    def __call__(self) -> int:
        self.readings.append(self.offset + round(trio.current_time() * 1_000))
        return self.readings[-1]


class Simulation:
    """One seed's day."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self.wall = Wall(int(datetime.fromisoformat(self.draw.choice(NIGHTS)).timestamp()) * 1_000)
        self.events: list[Event] = []
        self.open = Counter[str]()
        self.jobs = [self.job(f"job {n}", self.draw.choice(ZONES)) for n in range(self.draw.randint(2, 4))]
        self.scheduler = Scheduler(self.jobs, now=self.wall)
        self.scheduler.subscribe(self.events.append)

    def job(self, name: str, zone: str) -> Job:
        draw = self.draw
        tz: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
        return Job(
            name,
            CronExpression.parse(draw.choice(EXPRESSIONS)),
            self.run_of_random_length(),
            tz,
            misfire_grace=draw.choice([None, None, 0, MINUTE, 30 * MINUTE]),
            max_run=draw.choice([None, None, MINUTE, 20 * MINUTE]),
            jitter=draw.choice([0, 0, MINUTE, HOUR]),
        )

    def run_of_random_length(self) -> Callable[[Tick], Awaitable[None]]:
        draw = random.Random(self.draw.random())

        async def run(tick: Tick) -> None:
            self.open[tick.job] += 1
            assert self.open[tick.job] == 1, f"{tick} runs twice at once"
            try:
                await trio.sleep(draw.choice([0, 1, 30, 200, 700, 5_000, 10**6]) * draw.random())
                if draw.random() < 0.1:
                    raise OSError("drawn")
            finally:
                self.open[tick.job] -= 1

        return run

    async def day(self) -> None:
        draw = self.draw
        async with trio.open_nursery() as nursery:
            await nursery.start(self.scheduler.run)
            while trio.current_time() < HORIZON_S:
                await trio.sleep(draw.expovariate(1 / 4_000))
                match draw.choice(["stall", "suspend", "slew", "step"]):
                    case "stall":
                        # The process does not get to run, and time goes on everywhere.
                        self.clock.jump(draw.expovariate(1 / 600))
                    case "suspend":
                        self.wall.offset += round(draw.expovariate(1 / HOUR))
                    case "slew":
                        self.wall.offset += draw.randint(-500, 500)
                    case "step":
                        self.wall.offset += round(draw.choice([1, 1, 4]) * draw.uniform(-HOUR, HOUR))
            if draw.random() < 0.5:
                nursery.cancel_scope.cancel()
            self.scheduler.stop()

    def expected(self, job: Job) -> Counter[tuple[int, int]]:
        """The slots and eras of a job, from the readings alone."""
        era, (begin, *readings) = 0, self.wall.readings
        previous, decided = begin, begin
        slots = Counter[tuple[int, int]]()
        for reading in readings:
            back = previous - reading
            follows = job.expression.follows_wall_clock
            if back >= 3 * HOUR or (follows and decided - reading >= MINUTE):
                slots.update((slot, era) for slot in self.slots(job, begin, decided))
                era, begin, decided = era + 1, reading, reading
            decided, previous = max(decided, reading), reading
        slots.update((slot, era) for slot in self.slots(job, begin, decided))
        return slots

    @staticmethod
    def slots(job: Job, after: int, until: int) -> list[int]:
        return list(takewhile(lambda slot: slot <= until, job.expression.slots_after(after, job.tz)))

    def ended(self, job: Job) -> Counter[tuple[int, int]]:
        """The slots and eras of a job as the events tell them."""
        slots = Counter[tuple[int, int]]()
        for event in self.events:
            match event:
                case RunStarted(tick) | SlotSkipped(tick) if tick.job == job.name:
                    slots[tick.slot, tick.era] += 1
                case SlotsMissed(name, missed, era) if name == job.name:
                    found = self.slots(job, missed.first - 1, missed.last)
                    assert len(found) == missed.count
                    slots.update((slot, era) for slot in found)
        return slots


def check_day(seed: int) -> Counter[str]:
    """Run a seed's day, check it, and return what it contained."""
    simulation = Simulation(seed)
    trio.run(simulation.day, clock=simulation.clock)
    contents = Counter[str]()
    for job in simulation.jobs:
        ended = simulation.ended(job)
        assert ended == simulation.expected(job), (seed, job.name, str(job.expression))
        assert not ended or max(ended.values()) == 1
        figures = simulation.scheduler.statistics()[job.name]
        assert figures.runs + figures.skipped + figures.missed == ended.total()
        assert not figures.is_running
        finished = [
            event for event in simulation.events if isinstance(event, RunFinished) and event.tick.job == job.name
        ]
        assert len(finished) == figures.runs
        assert figures.timed_out == sum(event.outcome is Outcome.TIMED_OUT for event in finished)
        assert figures.failed == sum(event.outcome is Outcome.FAILED for event in finished)
        contents.update(runs=figures.runs, skipped=figures.skipped, missed=figures.missed)
        contents.update(
            timed_out=figures.timed_out, failed=figures.failed, eras=max((era for _, era in ended), default=0)
        )
    assert simulation.open.total() == 0
    return contents


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Tens of thousands of lines say nothing here."""
    caplog.set_level("CRITICAL", "reconciler_engine.scheduling")


def test_each_slot_ends_exactly_once() -> None:
    contents = sum((check_day(seed) for seed in range(5)), Counter[str]())
    # Each kind of event checked above did happen.
    assert all(contents[what] > 20 for what in ("runs", "skipped", "missed", "timed_out", "failed", "eras")), contents


@pytest.mark.soak
def test_each_slot_ends_exactly_once_over_a_thousand_days() -> None:
    contents = sum((check_day(seed) for seed in range(1_000)), Counter[str]())
    print(dict(contents))  # noqa: T201 - the figures of the promise
