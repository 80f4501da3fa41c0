"""The exchange's clock: the machine's own by default, or one that is set and runs at any rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LAST = 253_370_764_800_000
"""The clock stops here, at the beginning of the year 9999: answers carry dates, and no calendar has many after it."""


def check_rate(name: str, rate: float) -> None:
    """Check a rate.

    Raises:
        ValueError: It is negative or no finite number.
    """
    if not 0 <= rate < math.inf:
        raise ValueError(f"{name} {rate!r} is not a finite number >= 0")


class SimulatedClock:
    """Milliseconds UTC as the exchange sees them.

    Two processes that build it from the same `start`, `rate` and `origin` agree on the time.

    Args:
        start: Instant (ms UTC) the clock shows at `origin`; None follows the machine's clock from there.
        rate: Simulated milliseconds that pass in a real one; 0 stands still.
        origin: Instant of the real clock (ms) at which it showed `start`; None is now.
        read_real_ms: The real clock; the machine's by default.

    Raises:
        ValueError: `rate` is negative or no finite number.
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
        """Show `instant` (ms UTC) now and go on from there at the same rate."""
        self._origin = self._read()
        self._start = float(instant)
