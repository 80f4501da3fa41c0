"""The scheduler's loop: sleep, read the clock once, decide, start the jobs that are due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import trio

from reconciler_engine.scheduling.events import Event, JobStatistics, Observer
from reconciler_engine.scheduling.job import Job
from reconciler_engine.scheduling.runs import Claim, JobRuns, OverlapGuard
from reconciler_engine.scheduling.ticks import Position, Tick, TickReason, decide

_LOG = logging.getLogger(__name__)
# A suspend or a clock step is noticed at the latest after this.
_LONGEST_SLEEP_MS = 30_000


class Scheduler:
    """Runs jobs at their slots until it is stopped or cancelled.

    Each tick ends exactly once: run, skipped (its guard was held) or missed. A job that fails is logged and counted; it
    ends neither the scheduler nor another job. Every job has at most one run at a time, so the tasks are bounded by the
    jobs.

    Args:
        jobs: With distinct names.
        now: The wall clock (ms UTC), read once a decision.
        claim: Claims each tick among all processes, for as long as it is in hand here; by default all are ours.
        decided_until: Slots at or before this instant (ms UTC) are not ours to count; by default the first reading.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        now: Callable[[], int],
        claim: Claim | None = None,
        decided_until: int | None = None,
    ) -> None:
        if len({job.name for job in jobs}) != len(jobs):
            raise ValueError(f"job names must differ, got {', '.join(job.name for job in jobs)}")
        self._now = now
        self._decided_until = decided_until
        self._observers: list[Observer] = []
        self._stopping = trio.Event()
        self._wake = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._reading = 0
        self._jobs = {job.name: JobRuns(job, OverlapGuard(claim), self._emit, self._stopping) for job in jobs}
        self._positions = {job.name: Position(0) for job in jobs}
        self._next_slots: dict[str, int | None] = dict.fromkeys(self._jobs)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call `observer` with every event, in order; return the function that ends it.

        It is called in the scheduler's own tasks and must not block. An observer that raises is logged, nothing more.
        """
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def statistics(self) -> dict[str, JobStatistics]:
        """Return each job's figures by name, as of now."""
        return {name: job.statistics(self._next_slots[name]) for name, job in self._jobs.items()}

    @property
    def is_running(self) -> bool:
        """Whether `trigger_now` works: `run` has begun and is not stopping."""
        return self._nursery is not None and not self._stopping.is_set()

    def stop(self) -> None:
        """Stop scheduling: `run` returns when the runs in hand are over; a run still in its jitter is missed."""
        self._stopping.set()
        self._wake.set()

    def reschedule(self, jobs: Sequence[Job]) -> None:
        """Put other jobs of the same names in the place of these; a run under way ends as it began.

        Slots up to now are decided by the old schedules, those after it by the new ones.

        Raises:
            ValueError: The names are not those of the jobs there are.
        """
        if sorted(job.name for job in jobs) != sorted(self._jobs):
            raise ValueError(f"jobs {', '.join(job.name for job in jobs)}; allowed: {', '.join(self._jobs)}")
        if self._nursery is not None:
            self._decide(self._nursery)
        for job in jobs:
            self._jobs[job.name].job = job
        self._wake.set()

    def trigger_now(self, job: str) -> None:
        """Start a run of `job` out of turn, through the same guard: skipped if that is held.

        Raises:
            KeyError: No job has this name.
            RuntimeError: The scheduler is not running, or is stopping.
        """
        runs = self._jobs[job]
        if self._nursery is None or not self.is_running:
            raise RuntimeError(f"job {job!r} cannot be triggered: the scheduler is not running")
        tick = Tick(job, self._now(), TickReason.TRIGGER, self._positions[job].era)
        self._nursery.start_soon(runs.attempt, tick)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Schedule until `stop` is called and the runs are over; cancelling it cancels the runs.

        Reports started when the first decision is made and `trigger_now` works.
        """
        self._reading = self._now()
        begin = self._reading if self._decided_until is None else self._decided_until
        self._positions = {name: Position(begin) for name in self._jobs}
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                sleep_ms = self._decide(nursery)
                task_status.started()
                while not self._stopping.is_set():
                    with trio.move_on_after(sleep_ms / 1_000):
                        await self._wake.wait()
                    if not self._stopping.is_set():
                        self._wake = trio.Event()
                        sleep_ms = self._decide(nursery)
        finally:
            self._nursery = None

    def _decide(self, nursery: trio.Nursery) -> int:
        """Decide every job at one reading of the clock, start those that are due, and return the time to sleep (ms)."""
        now = self._now()
        wake = now + _LONGEST_SLEEP_MS
        for name, runs in self._jobs.items():
            decision = decide(name, runs.job.schedule, self._positions[name], self._reading, now)
            self._positions[name] = decision.position
            self._next_slots[name] = decision.next_slot
            if decision.missed is not None:
                runs.miss(decision.missed, decision.position.era)
            if decision.run is not None:
                nursery.start_soon(runs.attempt, decision.run)
            if decision.next_slot is not None:
                wake = min(wake, decision.next_slot)
        self._reading = now
        return max(wake - now, 1)

    def _emit(self, event: Event) -> None:
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer's fault is its own; the scheduler goes on
                _LOG.exception("an observer of the scheduler failed", extra={"observed": str(event)})


def wall_clock() -> int:
    """Return the instant by this machine's clock (ms UTC)."""
    return time.time_ns() // 1_000_000
