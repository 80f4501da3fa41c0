"""A job: its work, its schedule and its bounds."""

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
    """Something to run on a schedule; all durations in ms.

    `run` is awaited once per tick that the guard lets in. `misfire_grace`: how late a slot may still run, None for
    the job's interval. `max_run`: when a run is cancelled, None for three intervals. `jitter`: the most a run waits
    after its slot, a stable share of it per job name, always under half the interval; 0 for none.

    Raises:
        CronError: The expression can never fire.
        ValueError: A name or a bound is not allowed; names all that are wrong.
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
        """Return how long the run of a tick may take (ms); None when the slots end with it."""
        if self.max_run is not None:
            return self.max_run
        interval = self.schedule.interval_at(tick.slot)
        return None if interval is None else _DEFAULT_INTERVALS * interval

    def delay(self, tick: Tick) -> int:
        """Return how long the run of a tick waits after its start is decided (ms), the same share for every slot."""
        if not self.jitter:
            return 0
        interval = self.schedule.interval_at(tick.slot)
        bound = self.jitter if interval is None else min(self.jitter, (interval - 1) // 2)
        return bound * zlib.crc32(self.name.encode()) >> 32
