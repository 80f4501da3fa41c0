"""A job: its function, its schedule and its time limits."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo

from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.ticks import Schedule, Tick

_DEFAULT_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Job:
    """A function to run on a schedule. All durations are in ms.

    Attributes:
        name: Name of the job, not empty.
        expression: When it fires.
        run: Function that is awaited once for each tick that the overlap guard admits.
        tz: Time zone of the expression.
        misfire_grace: How late a slot may still be run; None for until the next slot.
        max_run: Time after which a run is cancelled; None for three intervals.
        jitter: Longest delay of a run after its slot. Each job name gets a fixed part of it, below half the interval.

    Raises:
        CronError: The expression can never fire.
        ValueError: Some attributes are not allowed; the message names all of them.
    """

    name: str
    expression: CronExpression
    run: Callable[[Tick], Awaitable[object]]
    tz: tzinfo = UTC
    misfire_grace: int | None = None
    max_run: int | None = None
    jitter: int = 0

    def __post_init__(self) -> None:
        faults = [] if self.name else ["name '' is empty; allowed: any other text"]
        if self.misfire_grace is not None and self.misfire_grace < 0:
            faults.append(f"misfire_grace {self.misfire_grace} is negative; allowed: 0 ms and more")
        if self.max_run is not None and self.max_run <= 0:
            faults.append(f"max_run {self.max_run} is not positive; allowed: 1 ms and more")
        if self.jitter < 0:
            faults.append(f"jitter {self.jitter} is negative; allowed: 0 ms and more")
        if faults:
            raise ValueError(f"job {self.name!r}: " + "; ".join(faults))
        self.expression.ensure_fires()

    @property
    def schedule(self) -> Schedule:
        """When the job fires."""
        return Schedule(self.expression, self.tz, self.misfire_grace)

    def run_limit(self, tick: Tick) -> int | None:
        """Return how long the run of a tick may take (ms); None for no limit, as no slots follow."""
        if self.max_run is not None:
            return self.max_run
        interval = self.schedule.interval_at(tick.slot)
        return None if interval is None else _DEFAULT_INTERVALS * interval

    def delay(self, tick: Tick) -> int:
        """Return the delay of a tick's run (ms): a part of `jitter` chosen by the job's name, equal for every slot."""
        if not self.jitter:
            return 0
        interval = self.schedule.interval_at(tick.slot)
        bound = self.jitter if interval is None else min(self.jitter, (interval - 1) // 2)
        return bound * zlib.crc32(self.name.encode()) >> 32
