"""The exchange's clock: the machine's time by default, or a chosen time at a chosen rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LAST = 253_370_764_800_000
"""Instant (ms UTC) at which the clock stops, the beginning of the year 9999: Python's dates end with that year."""


def check_rate(name: str, rate: float) -> None:
    """Check a rate.

    Raises:
        ValueError: The rate is negative or not a finite number.
    """
    if not 0 <= rate < math.inf:
        raise ValueError(f"{name} {rate!r} is not a finite number >= 0")


class SimulatedClock:
    """The exchange's time (ms UTC).

    Clocks with the same `start`, `rate` and `origin` show the same time in all processes.

    Args:
        start: Instant (ms UTC) that the clock shows at `origin`; by default `origin` itself.
        rate: Simulated milliseconds for each real one; 0 stops the clock.
        origin: Real instant (ms UTC) at which the clock shows `start`; by default now.
        read_real_ms: The real clock (ms UTC); by default the machine's.

    Raises:
        ValueError: `rate` is negative or not a finite number.
    """

    def __init__(
        self,
        start: int | None = None,
        *,
        rate: float = 1.0,
        origin: float | None = None,
        read_real_ms: Callable[[], float] = lambda: time.time() * 1_000,
    ) -> None:
        check_rate("clock rate", rate)
        self._read = read_real_ms
        self._origin = read_real_ms() if origin is None else origin
        self._start = self._origin if start is None else float(start)
        self._rate = rate

    def now(self) -> int:
        """Return the exchange's time (ms UTC), from 1970 to `LAST`."""
        return int(min(max(self._start + (self._read() - self._origin) * self._rate, 0), LAST))

    def set(self, instant: int) -> None:
        """Set the clock to `instant` (ms UTC); it continues at the same rate."""
        self._origin = self._read()
        self._start = float(instant)
