"""Events that a scheduler sends to its observers, and the statistics of its jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from reconciler_engine.scheduling.ticks import Missed, Tick


class Outcome(Enum):
    """How a run ended."""

    DONE = "done"
    DEGRADED = "degraded"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Degraded:
    """Return value of a run that ended normally but could not do its work; `why` is the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A tick was started as a run."""

    tick: Tick


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run ended; `error` describes its failure, or is None."""

    tick: Tick
    outcome: Outcome
    duration_ms: int
    error: str | None


@dataclass(frozen=True, slots=True)
class SlotSkipped:
    """A tick was not run: a run of its job is open, here or in another process (`elsewhere`).

    `error` is set instead if the claim failed, so that this could not be determined.
    """

    tick: Tick
    error: str | None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class SlotsMissed:
    """Slots of an era were not run because the process was not running, was late, or was stopping."""

    job: str
    missed: Missed
    era: int


Event = RunStarted | RunFinished | SlotSkipped | SlotsMissed
Observer = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """A job's statistics since its scheduler started.

    Each tick is counted once in `runs`, `skipped` or `missed`; `runs` includes `failed` and `timed_out`.
    `last_error` is the text of the latest error, cut to 500 characters; a later successful run does not clear it.
    """

    name: str
    runs: int = 0
    skipped: int = 0
    missed: int = 0
    timed_out: int = 0
    failed: int = 0
    last_error: str | None = None
    last_duration_ms: int | None = None
    next_slot: int | None = None
    is_running: bool = False
