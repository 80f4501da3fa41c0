"""The exchange's request budget, and the bounds of the token bucket (GCRA) that token_bucket.lua keeps of it.

A bucket is kept as its theoretical arrival time (TAT). A permit's slot is `max(now, TAT - tolerance)`, and taking it
moves the TAT to `max(TAT, slot) + interval`. So for the slots s_i <= s_j of two permits
`s_j >= s_i + (j - i) * interval - tolerance`, and if each permit is used at most `lateness` after its slot, a half-open
window of length W sees at most `ceil((W + tolerance + lateness) / interval)` of them. All bounds below are this one.

A bucket nobody remembers starts empty: its first slot is one interval away, so that losing it grants nothing.

An exchange that refuses for rate allows less than we think. Each refusal halves the rate, down to a sixteenth; without
one it comes back by a hundredth of the whole a second. The intervals in between are longer than the budget's and never
shorter, so that all bounds stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from reconciler_engine.market.rounding import ceil_div

# A permit is void when used later than this after its slot (design.md section 3).
LONGEST_LATENESS_US: Final = 250_000

# Longest wait a reservation may have, and longest push-back: beyond it the budget is refused, not queued.
LONGEST_WAIT_US: Final = 3_600_000_000

_HOUR_US: Final = 3_600_000_000

WHOLE_PPM: Final = 1_000_000

# Part of an hour's budget that may go out as fast as the other limit allows, before it is paced.
_HOURLY_BURST_SHARE: Final = 10


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: permits `interval_us` apart on average, up to `tolerance_us` ahead of that."""

    interval_us: int
    tolerance_us: int


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests may go out.

    Attributes:
        burst: Permits of a full bucket, at least 1.
        period_ms: Time in which an empty bucket fills (ms), at least 1: the rate is burst / period.
        hourly: Most permits in any hour, at least 2, or None for no such limit.

    Raises:
        ValueError: A value is out of its range; the message names it.
    """

    burst: int
    period_ms: int
    hourly: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("burst", self.burst, 1),
            ("period_ms", self.period_ms, 1),
            ("hourly", self.hourly, 2),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} {value} must be at least {least}")

    @property
    def rate_per_s(self) -> float:
        """Permits a second in the long run."""
        return 1_000_000 / max(limit.interval_us for limit in self.limits)

    def share(self, part: float) -> Budget:
        """Return the budget of which the rate is so large a part of this one's (above 0, at most 1).

        A full bucket holds a minute's permits, so that a job that takes them in a part of each minute gets all.
        """
        rate_per_s = self.rate_per_s * part
        burst = max(1, int(60 * rate_per_s))
        return Budget(burst, max(1, ceil(1_000 * burst / rate_per_s)))

    @property
    def lateness_us(self) -> int:
        """How long after its slot a permit may be used: 250 ms, or the time a bucket takes to fill if that is less."""
        return min(LONGEST_LATENESS_US, self.burst * self._interval_us)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits; a permit keeps all of them.

        The bucket: lateness eats into the burst, so that tolerance + lateness <= burst * interval and every window W
        sees at most burst + rate * W + 1 permits as used, not only as granted.

        The hour: with a tolerance of a tenth of it, interval = (hour + tolerance + lateness) / (hourly - 1), so that
        an hour sees at most `hourly` permits even if the bucket was lost within it (any number of losses costs one).
        10,000 an hour are 909 at once and then one each 0.396 s.
        """
        interval_us, lateness_us = self._interval_us, self.lateness_us
        tolerance_us = (self.burst - 1) * interval_us - max(0, lateness_us - interval_us)
        bucket = Limit(interval_us, tolerance_us)
        if self.hourly is None:
            return (bucket,)
        ahead_us = _HOUR_US // _HOURLY_BURST_SHARE
        return (bucket, Limit(ceil_div(_HOUR_US + ahead_us + lateness_us, self.hourly - 1), ahead_us))

    @property
    def _interval_us(self) -> int:
        # Rounded up: never faster than asked.
        return ceil_div(self.period_ms * 1000, self.burst)


def stretched_us(interval_us: int, share: int) -> int:
    """Return an interval at a share (ppm) of the rate; at most `LONGEST_WAIT_US` longer."""
    return min(interval_us * WHOLE_PPM // share, interval_us + LONGEST_WAIT_US)
