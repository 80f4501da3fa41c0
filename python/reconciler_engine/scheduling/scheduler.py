"""The scheduler's loop: sleep, read the clock once, decide about each job, start the jobs that are due."""

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
# A suspended machine or a changed clock is noticed within this time.
_LONGEST_SLEEP_MS = 30_000


class Scheduler:
    """Runs jobs at their slots until it is stopped or cancelled.

    Each tick ends exactly once: it is run, skipped (its guard was held) or missed. The failure of a job is logged and
    counted; the scheduler and all other jobs continue. Each job has at most one run at a time.

    Args:
        jobs: Jobs with distinct names.
        now: The wall clock (ms UTC). It is read once for each decision about all jobs.
        claim: Claims a tick among all processes while it is handled; by default every tick runs here.
        decided_until: Instant (ms UTC) after which slots are scheduled or missed; by default the first clock reading.
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
        """Call `observer` with every event, in order; return a function that unsubscribes it.

        Observers are called in the scheduler's own tasks and must not block. Their exceptions are logged and ignored.
        """
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def statistics(self) -> dict[str, JobStatistics]:
        """Return the current statistics of each job, by name."""
        return {name: job.statistics(self._next_slots[name]) for name, job in self._jobs.items()}

    @property
    def is_running(self) -> bool:
        """Whether `run` is active and not stopping, so that `trigger_now` works."""
        return self._nursery is not None and not self._stopping.is_set()

    def stop(self) -> None:
        """Stop scheduling. `run` returns once all started runs are over; runs that wait for their jitter are missed."""
        self._stopping.set()
        self._wake.set()

    def reschedule(self, jobs: Sequence[Job]) -> None:
        """Replace all jobs by jobs with the same names. Current runs are not affected.

        Slots up to now follow the old schedules, later slots the new ones.

        Raises:
            ValueError: The names differ from those of the current jobs.
        """
        if sorted(job.name for job in jobs) != sorted(self._jobs):
            raise ValueError(f"jobs {', '.join(job.name for job in jobs)}; allowed: {', '.join(self._jobs)}")
        if self._nursery is not None:
            self._decide(self._nursery)
        for job in jobs:
            self._jobs[job.name].job = job
        self._wake.set()

    def trigger_now(self, job: str) -> None:
        """Start a run of `job` now, outside its schedule. It is skipped if the job's guard is held.

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
        """Schedule until `stop` is called and all runs are over. Cancelling this cancels the runs.

        Calls `task_status.started()` after the first decision, when `trigger_now` works.
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
        """Read the clock once, decide about every job, start the jobs due, and return the time to sleep (ms)."""
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
    """Return the current instant by this machine's clock (ms UTC)."""
    return time.time_ns() // 1_000_000
