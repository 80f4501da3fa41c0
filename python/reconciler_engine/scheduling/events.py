"""Events that a scheduler tells its observers, and the figures it keeps."""

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
    """Returned by a run that came to its end and could not do its work, with the reason."""

    why: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A tick became a run: its one ending."""

    tick: Tick


@dataclass(frozen=True, slots=True)
class RunFinished:
    """A run that had started is over; `error` is its failure, or None."""

    tick: Tick
    outcome: Outcome
    duration_ms: int
    error: str | None


@dataclass(frozen=True, slots=True)
class SlotSkipped:
    """A tick ended because the guard was held, here or `elsewhere`, or nobody could say whether it was (`error`)."""

    tick: Tick
    error: str | None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class SlotsMissed:
    """Slots of an era ended because the process was not there, was late, or was stopping."""

    job: str
    missed: Missed
    era: int


Event = RunStarted | RunFinished | SlotSkipped | SlotsMissed
Observer = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """A job's figures since its scheduler began.

    Each tick is counted once in `runs`, `skipped` or `missed`; `failed` and `timed_out` are among the runs.
    `last_error` is the latest error as text, cut to 500 characters; it stays after a run that went well.
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
